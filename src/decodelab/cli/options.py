"""Options that several commands share, each declared once, alone or in groups that become prompts, limits, models.

A command takes a group as one parameter, whose default says what differs: `limits: LimitOptions =
LimitOptions(max_new_tokens=100)`. `flat` turns each field of a group into an option of the command line.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from decodelab.cli.prompts import read_prompts, read_rows, unescaped
from decodelab.cli.terminal import note
from decodelab.core.errors import RequestError
from decodelab.core.notices import notes
from decodelab.core.values import Chat

if TYPE_CHECKING:
    from decodelab.core.protocols import LanguageModel

Prompts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PROMPT",
        show_default=False,
        help="One or more prompts, taken as they are; - reads stdin. Without any, the prompt is empty (BOS).",
    ),
]
OnePrompt = Annotated[
    str | None,
    typer.Argument(metavar="PROMPT", show_default=False, help="The prompt, taken as it is; - reads stdin."),
]
PromptFile = Annotated[
    Path | None,
    typer.Option(
        "--file", "-f", metavar="FILE", help='A file of prompts: one per line, or JSONL with "prompt"; - reads stdin.'
    ),
]
Escapes = Annotated[
    bool, typer.Option("--escapes", help=r"Read \n, \t and \\ in prompts and --stop as newline, tab, backslash.")
]
AsChat = Annotated[
    bool, typer.Option("--chat", help="Send each prompt as a user message through the model's chat template.")
]
System = Annotated[str | None, typer.Option("--system", metavar="TEXT", help="System message (with --chat).")]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="A shipped model, a directory, a table or a hub id; BASE+ADAPTER adds an adapter of peft; "
        "generate, compare and score take servers' too (openai:http://HOST:PORT/v1#NAME).",
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        show_default="pocket-small",
        help="A shipped model, a directory, a table or a hub id; may be repeated.",
    ),
]
Strategy = Annotated[
    str, typer.Option("--strategy", "-s", metavar="STRATEGY", help="How to decode (see decodelab strategies).")
]
Strategies = Annotated[
    list[str] | None,
    typer.Option(
        "--strategy", "-s", metavar="STRATEGY", show_default="default", help="How to decode; may be repeated."
    ),
]
MaxNewTokens = Annotated[int, typer.Option(metavar="N", help="Generate at most this many tokens.")]
MinNewTokens = Annotated[int, typer.Option(metavar="N", help="Generate at least this many tokens before ending.")]
TotalLength = Annotated[
    int | None,
    typer.Option(metavar="N", show_default=False, help="End at this many tokens, those of the prompt included."),
]
Stop = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT", show_default=False, help="End before this text; may be repeated."),
]
StopTokenId = Annotated[
    list[int] | None,
    typer.Option(metavar="ID", show_default=False, help="End with this token id; may be repeated."),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Random seed; results do not depend on how work is batched.")]
MaxRows = Annotated[int, typer.Option(metavar="N", help="Sequences (beams, samples) computed at once; bounds memory.")]
Dtype = Annotated[str, typer.Option(metavar="NAME", help="float32, bfloat16, float16 or auto.")]
Device = Annotated[str, typer.Option(metavar="NAME", help="cpu, cuda, cuda:N, mps or auto.")]
SkipTooLong = Annotated[
    bool, typer.Option("--skip-too-long", help="Leave out prompts that are too long for the model, and say which.")
]
IgnoreUnexpected = Annotated[
    bool,
    typer.Option("--ignore-unexpected", help="Load weights that hold tensors the model's config has no place for."),
]
Level = Annotated[float, typer.Option(metavar="P", help="Confidence level of the intervals.")]
TaskParameters = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", show_default=False, help="Set a task parameter; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]


@dataclass(frozen=True)
class OnePromptOptions:
    """One prompt, as text or as a chat."""

    prompt: OnePrompt = None
    escapes: Escapes = False
    chat: AsChat = False
    system: System = None

    def request(self) -> str | Chat:
        """The prompt as the engine takes it."""
        given = [] if self.prompt is None else [self.prompt]
        return as_requests(read_prompts(given, None, escapes=self.escapes), self.chat, self.system)[0]


@dataclass(frozen=True)
class PromptOptions:
    """Prompts from arguments or a file, as texts or as chats."""

    prompts: Prompts = None
    file: PromptFile = None
    escapes: Escapes = False
    chat: AsChat = False
    system: System = None

    def requests(self) -> list[str | Chat]:
        """The prompts as the engine takes them."""
        return self.read()[0]

    def read(self) -> tuple[list[str | Chat], list[Mapping[str, Any]]]:
        """The prompts as the engine takes them, and the other fields of the row of each in a file."""
        rows = read_rows(self.prompts or [], self.file, escapes=self.escapes)
        return as_requests([row.prompt for row in rows], self.chat, self.system), [row.fields for row in rows]


@dataclass(frozen=True)
class LimitOptions:
    """When a continuation ends."""

    max_new_tokens: MaxNewTokens = 128
    min_new_tokens: MinNewTokens = 0
    stop: Stop = None
    stop_token_id: StopTokenId = None

    def limits(self, escapes: bool) -> dict[str, Any]:
        """The limits of a request, as `decodelab.generate` names them."""
        return {
            "max_new_tokens": self.max_new_tokens,
            "min_new_tokens": self.min_new_tokens,
            "stop": tuple(unescaped(s) if escapes else s for s in self.stop or ()),
            "stop_token_ids": tuple(self.stop_token_id or ()),
        }


@dataclass(frozen=True)
class DeviceOptions:
    """How a model is loaded: where it runs, in which precision, and what its files may hold."""

    dtype: Dtype = "auto"
    device: Device = "auto"
    ignore_unexpected: IgnoreUnexpected = False

    def load(self, name: str) -> LanguageModel:
        """The model of that name; notes on its files go to stderr."""
        from decodelab.models.loading import load

        with notes() as said:
            found = load(name, dtype=self.dtype, device=self.device, ignore_unexpected=self.ignore_unexpected)
        for message in said:
            note(message)
        return found


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """The command with a parameter for each field of its groups, as typer reads them.

    >>> def show(ends: LimitOptions = LimitOptions(max_new_tokens=9), seed: Seed = 0): print(ends.max_new_tokens, seed)
    >>> list(inspect.signature(flat(show)).parameters)
    ['max_new_tokens', 'min_new_tokens', 'stop', 'stop_token_id', 'seed']
    >>> flat(show)(max_new_tokens=2, min_new_tokens=0, stop=None, stop_token_id=None, seed=1)
    2 1
    """
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        if not is_dataclass(group := hints.get(name, parameter.annotation)):
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=group))
            continue
        groups[name] = group
        types = get_type_hints(group, include_extras=True)
        parameters += [
            inspect.Parameter(
                f.name, parameter.KEYWORD_ONLY, default=getattr(parameter.default, f.name), annotation=types[f.name]
            )
            for f in fields(group)
        ]

    def flattened(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{f.name: given.pop(f.name) for f in fields(group)})
        command(**given)

    flattened.__doc__ = command.__doc__
    flattened.__annotations__ = {p.name: p.annotation for p in parameters}
    flattened.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    return flattened


def as_requests(prompts: Sequence[str], chat: bool, system: str | None) -> list[str | Chat]:
    """The prompts as the engine takes them: texts, or chats of one user message.

    Raises:
        RequestError: for a system message without a chat.
    """
    if system is not None and not chat:
        raise RequestError("--system is the system message of a chat; add --chat")
    return [Chat.of(p, system) if chat else p for p in prompts]


def task_parameters(given: Sequence[str] | None) -> dict[str, Any]:
    """The parameters of a task from `name=value` texts, each value read as YAML.

    Raises:
        RequestError: for a text that is not of this form, or a name given twice.

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
