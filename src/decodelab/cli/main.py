"""The command line: one command per module; every error becomes one line and exit code 2."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

import decodelab
from decodelab.cli.commands import COMMANDS
from decodelab.cli.lazy import load_when_used
from decodelab.cli.options import flat
from decodelab.cli.terminal import INTERRUPTED, note, say
from decodelab.cli.usage import Command, meant_option
from decodelab.core.errors import DecodelabError, did_you_mean, quoted
from decodelab.core.notices import ToldOnce, notes
from decodelab.io.text import printable

BROKEN_PIPE = 141


class Commands(TyperGroup):
    """The group of commands, which fails with one line on stderr and exit code 2, without a traceback."""

    def main(  # pyright: ignore[reportIncompatibleMethodOverride]  (passes on what it does not name)
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Run a command line and exit with its code."""
        given = list(sys.argv[1:] if args is None else args) or ["--help"]
        try:
            options: dict[str, Any] = extra | {"standalone_mode": False}
            code = super().main(given, prog_name or "decodelab", **options)
            sys.stdout.flush()
        except TyperException as error:
            refuse(_usage(error))
            code = error.exit_code
        except BrokenPipeError:
            code = _reader_left()
        except OSError as error:  # of printing help
            refuse(_reason(error))
            code = 2
        sys.exit(code if isinstance(code, int) else 0)

    def list_commands(self, ctx: Any) -> list[str]:
        """Our commands in the order of their table, then third parties'."""
        return list(COMMANDS.entries())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, imported now; one that cannot be imported says so when it is run."""
        try:
            found = COMMANDS.load(cmd_name)
        except DecodelabError as error:
            return _broken(error)
        if isinstance(found, typer.Typer):
            return typer.main.get_command(found)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name, cls=Command)(flat(found))
        return typer.main.get_command(single)

    def invoke(self, ctx: Any) -> Any:
        """Run the requested command; a note that it does not collect itself is printed as it comes."""
        try:
            with notes(note, of=(ToldOnce,)):
                return super().invoke(ctx)
        except DecodelabError as error:
            refuse(str(error))
            raise typer.Exit(2) from None
        except BrokenPipeError:
            raise typer.Exit(_reader_left()) from None
        except OSError as error:
            refuse(_reason(error))
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(INTERRUPTED) from None


def _usage(error: TyperException) -> str:
    """What is wrong with a command line, and what was meant."""
    context, unknown = getattr(error, "ctx", None), getattr(error, "option_name", None)
    message, meant = error.format_message(), ""
    if context is None:
        return message
    if unknown is not None and message.startswith("No such option"):
        message, meant = f"No such option: {unknown}", meant_option(unknown, context.command.params)
    elif message.startswith("No such command"):
        message, meant = message.split(".")[0], did_you_mean(message.split("'")[1], COMMANDS.entries())
    return f"{message}{meant} (see {context.command_path} --help)"


def _broken(error: DecodelabError) -> Any:
    """A command that only raises an error."""
    single = typer.Typer(add_completion=False, rich_markup_mode=None)

    @single.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
    def refused() -> None:
        """Cannot be loaded; run it to see why."""
        raise error

    return typer.main.get_command(single)


def refuse(message: str) -> None:
    """Print an error on one line of stderr."""
    say(f"decodelab: {printable(' '.join(message.split()))}")


def _reason(error: OSError) -> str:
    """What an error of the system says, in short."""
    return f"{error.strerror or error}{f': {quoted(error.filename)}' if error.filename else ''}"


def _reader_left() -> int:
    """The reader of our output is gone (`| head`): discard the rest, so that Python prints no error at exit."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (until the process ends)
    return BROKEN_PIPE


app = typer.Typer(
    name="decodelab",
    cls=Commands,
    # Plain help can be copied and piped, and loads nothing.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"decodelab {decodelab.__version__}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Decode language models: generate text with any strategy, and see what the strategy does.

    \b
    A strategy is a chain of stages, from left to right:
      greedy                                      always take the most probable token
      temperature=0.8 | top_p=0.9                 sharpen, cut the tail, sample
      top_k=50 | sample(n=4)                      four samples
      beam(width=5, length_penalty=0.6)           search for a probable sequence
      default                                     use the model's own settings

    \b
    Start here:
      decodelab demo                              two small models, eight strategies, four tasks
      decodelab generate "Once upon a time,"
      decodelab compare "What is 27 + 35?" -s greedy -s temperature=1.5
      decodelab trace "Once upon a time," -s "temperature=0.8 | top_p=0.9"
      decodelab strategies                        every stage with its parameters and source

    No network is needed: two small models ship with the package (decodelab models). Every command has --help with
    examples, and --json where it prints results.
    """


def main() -> None:
    """Run the `decodelab` command."""
    if not sys.warnoptions:
        # Libraries' warnings are for programmers, not for users of a command; -W shows them again.
        warnings.simplefilter("ignore")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (until the process ends)
    if sys.stdout is None:
        # The next file that is opened would take its place.
        refuse("stdout is closed; redirect it to a file, or to /dev/null")
        sys.exit(2)
    for stream in (sys.stdout, sys.stderr):
        # Characters missing from the terminal's encoding are escaped rather than raising an error.
        stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
    load_when_used("torch")
    load_when_used("numpy")
    # Imports make a million objects that live until the end; looking through them again and again is a fifth of the
    # start-up time.
    gc.set_threshold(50_000)
    # Once more at the end would be another tenth: what is left then is not looked through, the system takes it back.
    atexit.register(gc.freeze)
    app()
