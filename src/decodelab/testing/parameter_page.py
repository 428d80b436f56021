"""Writes `docs/server-parameters.md` from the server's tables of parameters: `make stub`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from decodelab.server.docs_page import kind
from decodelab.server.llama_parameters import LLAMA_PARAMETERS, LLAMA_REFUSED
from decodelab.server.parameter import Parameter, Refused
from decodelab.server.parameters import PARAMETERS, REFUSED, request_model

PAGE = Path(__file__).parents[3] / "docs" / "server-parameters.md"
_HEAD = """# Parameters of the server

Every parameter of [the server](server.md) is honoured exactly or refused by name; what is inert says so. `make stub`
writes this page from the tables that requests are checked by.
"""
_LLAMA = """
## `/completion`, as llama.cpp's server has it

The samplers run in llama.cpp's order and with its defaults ([other systems](other-systems.md)); random numbers are
decodelab's, so that a seed gives other texts than there. `model` may be left out where one model is served. A grammar
or schema acts before the samplers, where llama.cpp draws without it first, and again with it if the token is not
allowed. GBNF is translated character by character, so that the same texts are accepted; its tokens (`<think>`,
`<[1000]>`) are refused. The answer has llama-server's fields, with `decodelab` beside them; its stream has no
`[DONE]`.

"""


def page() -> str:
    """The page."""
    lines = [_HEAD, "## `/v1/completions`, `/v1/chat/completions`, `/v1/responses`\n"]
    lines += [
        *_honoured(PARAMETERS, routes=True),
        "",
        "Refused, but for values that say nothing:\n",
        *_refused(REFUSED),
    ]
    lines += [_LLAMA.rstrip("\n") + "\n", *_honoured(LLAMA_PARAMETERS, routes=False), "", "Refused:\n"]
    return "\n".join([*lines, *_refused(LLAMA_REFUSED), ""]).replace("\n\n\n", "\n\n")


def _honoured(listed: Sequence[Parameter], *, routes: bool) -> Iterator[str]:
    yield "| parameter | whose | where | type | what it does |" if routes else "| parameter | type | what it does |"
    yield "|---|---|---|---|---|" if routes else "|---|---|---|"
    for one in listed:
        schema = request_model(one.routes[0]).model_json_schema()["properties"][one.name]
        where = f" {one.origin} | {', '.join(one.routes) if len(one.routes) < 3 else 'all'} |" if routes else ""
        needed = " Required." if one.required else ""
        yield f"| `{one.name}` |{where} {kind(schema)} | {one.doc}{needed} |"


def _refused(listed: Sequence[Refused]) -> Iterator[str]:
    yield "| parameter | instead |"
    yield "|---|---|"
    for one in listed:
        yield f"| `{one.name}` | {one.why} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
