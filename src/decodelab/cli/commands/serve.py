"""`decodelab serve`: serve models and every strategy over HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from decodelab.cli import options
from decodelab.cli.terminal import note, say
from decodelab.core.errors import RequestError
from decodelab.core.secret import Secret
from decodelab.io.json import parse_json
from decodelab.io.text import read_text

KEY = "DECODELAB_API_KEY"
"""The environment variable that holds the key clients must send."""


def command(
    models: options.Models = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="The port; 0 takes a free one.")] = 8000,
    api_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help=f"The key that clients must send (or set {KEY})."),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", show_default=False, help="A web page that may ask; may be repeated."),
    ] = None,
    default: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            show_default=False,
            help="A parameter for requests that do not give it, such as temperature=0; may be repeated.",
        ),
    ] = None,
    max_rows: options.MaxRows = 64,
    memory: Annotated[
        int | None, typer.Option(metavar="MB", show_default=False, help="Cache of running requests of a model at most.")
    ] = None,
    max_queue: Annotated[int, typer.Option(metavar="N", help="Requests that may wait for a model.")] = 256,
    max_tokens: Annotated[int, typer.Option(metavar="N", help="New tokens of one request, all sequences.")] = 65_536,
    deadline: Annotated[float, typer.Option(metavar="SECONDS", help="When a request is given up.")] = 600.0,
    grace: Annotated[float, typer.Option(metavar="SECONDS", help="Time for running requests when stopped.")] = 10.0,
    device: options.DeviceOptions = options.DeviceOptions(),
) -> None:
    """Serve models and every strategy over the API of OpenAI.

    A request takes OpenAI's and vLLM's parameters, or "strategy": any text of the strategy language. Each parameter is
    honoured exactly or refused; the same request gives the same answer, whoever else asks. Listens on this machine
    only, unless there is a key. Prompts are not logged.

    \b
    Examples:
      decodelab serve
      decodelab serve -m pocket-nano -m pocket-small --port 8080
      curl localhost:8000/v1/completions -d '{"model": "pocket-small", "prompt": "2 +"}'

    Next: http://127.0.0.1:8000/docs lists the routes and all parameters.
    """
    from decodelab.server.reading import checked_defaults
    from decodelab.server.settings import ServerSettings

    settings = ServerSettings(
        host=host,
        port=port,
        api_key=_key(api_key_file),
        origins=tuple(origin or ()),
        max_rows=max_rows,
        memory=None if memory is None else memory * 2**20,
        max_queue=max_queue,
        max_tokens=max_tokens,
        deadline=deadline,
        defaults=checked_defaults(dict(map(_default, default or []))),
        grace=grace,
    )
    names = list(dict.fromkeys(models or ["pocket-small"]))
    served = {name: device.load(name) for name in names}

    from decodelab.engine.threads import threads_for
    from decodelab.server.run import serve

    with threads_for(next(iter(served.values()))):
        serve(served, settings, lambda address: say(f"serving {', '.join(names)} on {address} (Ctrl-C stops)"))
    note("stopped")


def _key(file: Path | None) -> Secret:
    if file is None:
        return Secret.of(os.environ.get(KEY, ""), KEY)
    key = Secret.of(read_text(file), str(file))
    if not key.text:
        raise RequestError(f"{file} is empty; write the key into it")
    return key


def _default(written: str) -> tuple[str, Any]:
    """A default as it is written: its value is JSON, or else text.

    >>> _default("temperature=0.5"), _default("strategy=beam(width=4)")
    (('temperature', 0.5), ('strategy', 'beam(width=4)'))
    """
    name, equals, value = written.partition("=")
    if not equals:
        raise RequestError(f"--default must be NAME=VALUE, got {written[:60]!r}; write temperature=0")
    try:
        return name.strip(), parse_json(value)
    except ValueError:
        return name.strip(), value
