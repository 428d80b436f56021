"""Options that several commands share, each explained once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from decodelab.cli.prompts import unescaped
from decodelab.core.errors import RequestError
from decodelab.core.values import Chat

Prompts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PROMPT",
        show_default=False,
        help="One text or several, taken literally; - reads stdin. None at all is the empty prompt (BOS).",
    ),
]
PromptFile = Annotated[
    Path | None,
    typer.Option("--file", "-f", metavar="FILE", help='Prompts one a line, or JSONL with "prompt"; - reads stdin.'),
]
Escapes = Annotated[
    bool, typer.Option("--escapes", help=r"Read \n, \t and \\ in prompts and --stop as newline, tab, backslash.")
]
AsChat = Annotated[
    bool, typer.Option("--chat", help="Treat each prompt as a user's message in the model's chat template.")
]
System = Annotated[
    str | None, typer.Option("--system", metavar="TEXT", help="System message of the chat (with --chat).")
]
MaxNewTokens = Annotated[int, typer.Option(metavar="N", help="At most so many new tokens.")]
MinNewTokens = Annotated[int, typer.Option(metavar="N", help="Nothing ends the text before so many tokens.")]
Stop = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT", show_default=False, help="End before this text; may be repeated."),
]
StopTokenId = Annotated[
    list[int] | None,
    typer.Option(metavar="ID", show_default=False, help="End with this token id; may be repeated."),
]
Seed = Annotated[int, typer.Option(metavar="N", help="All random draws follow from it, whatever the batch.")]
MaxRows = Annotated[int, typer.Option(metavar="N", help="Rows (beams, samples) computed at once; bounds the memory.")]
Dtype = Annotated[str, typer.Option(metavar="NAME", help="float32, bfloat16, float16 or auto.")]
Device = Annotated[str, typer.Option(metavar="NAME", help="cpu, cuda, cuda:N, mps or auto.")]
TaskParameters = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", show_default=False, help="A parameter of the task; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]


def as_requests(prompts: Sequence[str], chat: bool, system: str | None) -> list[str | Chat]:
    """The prompts as the engine takes them: text, or chats of one user message.

    Raises:
        RequestError: for a system message without a chat.
    """
    if system is not None and not chat:
        raise RequestError("--system is the system message of a chat; add --chat")
    return [Chat.of(p, system) if chat else p for p in prompts]


def limits(
    max_new_tokens: int,
    min_new_tokens: int,
    stop: Sequence[str] | None,
    stop_token_id: Sequence[int] | None,
    escapes: bool = False,
) -> dict[str, Any]:
    """The limits of a request, named as `decodelab.generate` names them."""
    return {
        "max_new_tokens": max_new_tokens,
        "min_new_tokens": min_new_tokens,
        "stop": tuple(unescaped(s) if escapes else s for s in stop or ()),
        "stop_token_ids": tuple(stop_token_id or ()),
    }


def task_parameters(given: Sequence[str] | None) -> dict[str, Any]:
    """The parameters of a task, `name=value` each, the value as YAML reads it.

    Raises:
        RequestError: for one that is not of this form, or is given twice.

    >>> task_parameters(["shots=5", "form=standard", "day=2001-99-99"])
    {'shots': 5, 'form': 'standard', 'day': '2001-99-99'}
    """
    from decodelab.io.yaml import parse_yaml

    found: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise RequestError(f"--set needs NAME=VALUE, got {text[:60]!r}; decodelab tasks list names the parameters")
        if name in found:
            raise RequestError(f"--set {name} is given twice; leave one out")
        try:
            found[name] = parse_yaml(value, f"--set {name}")
        except RequestError:
            found[name] = value
    return found
