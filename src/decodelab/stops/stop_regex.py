"""Texts that end where a regular expression matches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar

from decodelab.core.errors import InvalidParameter
from decodelab.core.stage import Kind, Stage, brief, check_choice
from decodelab.processors._expressions import ExpressionFault, alternatives
from decodelab.stops._automaton import Automaton, Threads


@dataclass(frozen=True)
class Searched:
    """How far a text has been searched.

    Attributes:
        automaton: what is looked for.
        before: whether the match is cut off, too.
        threads: the matches that have begun.
        place: how many characters were read.
        kept: how many characters stay if the text ends with the token read last; None if it does not.
    """

    automaton: Automaton
    before: bool
    threads: Threads = ()
    place: int = 0
    kept: int | None = None

    @property
    def ended(self) -> bool:
        """Whether a match ends within the token read last."""
        return self.kept is not None

    @property
    def held(self) -> int | None:
        """Where the first match that has begun begins, if it will be cut off."""
        return min((start for _, start in self.threads), default=None) if self.before else None

    def read(self, token: int, text: str) -> Searched:
        """The state after some more characters."""
        threads, kept = self.threads, None
        for place, character in enumerate(text, self.place):
            threads, start = self.automaton.read(threads, place, character)
            if start is not None and kept is None:
                kept = start if self.before else place + 1
        return Searched(self.automaton, self.before, threads, self.place + len(text), kept)


@dataclass(frozen=True)
class StopRegex(Stage):
    r"""End a text where a regular expression first matches in it.

    A text ends as soon as a match is complete, so at the first character with which any match ends: `\d+` ends it at
    the first digit, `\d+\.` at the full stop. Of the matches that end there, the one that begins first counts. With
    cut=before the text is cut before the match, as at a stop string; with cut=after behind it. The reason is "stop".

    Only the generated text is searched, from its first character on; `^` and `\A` are its beginning. As with stop
    strings, a match that ends within the first min_new_tokens tokens does not count. The syntax is that of `regex`: the
    regular part of Python's `re`, here without `$` and `\Z`, as nothing tells the end of a text that is being written.
    `re.search` finds the match that begins first, this the one that ends first. The search takes time linear in the
    text, whatever the expression.

    Raises:
        InvalidParameter: if the pattern is no regular expression of this syntax, saying where, if it matches the empty
            text, or if cut is neither before nor after.

    >>> import decodelab as dl
    >>> model = dl.TableModel(list("ab1."), {"b": {"1": 1.0}, "1": {".": 1.0}, ...: {"b": 1.0}}, eos=None, separator="")
    >>> dl.generate(model, "a", r"stop_regex='\\d+\\.' | greedy")[0].best.text
    'b'
    """

    pattern: Annotated[str, "regular expression at which the text ends"]
    cut: Annotated[str, "where the text is cut: before or after the match"] = "before"

    name: ClassVar[str] = "stop_regex"
    kind: ClassVar[Kind] = "stop"
    source: ClassVar[str] = "stop strings as regular expressions; automata of Thompson 1968"
    uses_randomness: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the pattern."""
        check_choice(self, "cut", ("before", "after"), fix="before leaves out the match, too")
        if not isinstance(self.pattern, str) or not self.pattern:
            raise InvalidParameter(
                f"stop_regex: pattern must be text, got {brief(self.pattern)}; write stop_regex='\\\\n[0-9]+'"
            )
        try:
            _compiled(self.pattern)
        except ExpressionFault as fault:
            raise InvalidParameter(
                f"stop_regex: pattern cannot be used, at character {fault.at}: {fault.what}; got {brief(self.pattern)}"
            ) from None

    def begin(self) -> Searched:
        """Nothing read yet."""
        return Searched(_compiled(self.pattern), self.cut == "before")


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Automaton:
    """The automaton of a pattern.

    Raises:
        ExpressionFault: if it has none.
    """
    return Automaton.of(alternatives(pattern))
