"""Texts that loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from decodelab.core.stage import Kind, Stage, check_number
from decodelab.core.values import Tokens


@dataclass(frozen=True)
class Loops:
    """What a text repeats at its end.

    Attributes:
        rule: the stage.
        recent: its last tokens, at most rule.max_size.
        runs: for each size k from 1 on, how many tokens at the end equal the one k before them.
        ended: whether the last token completes a loop.
    """

    rule: RepetitionStop
    recent: Tokens = ()
    runs: Tokens = ()
    ended: bool = False

    kept: ClassVar[None] = None
    held: ClassVar[None] = None

    def read(self, token: int, text: str) -> Loops:
        """The state after one more token."""
        before = reversed(self.recent)
        runs = tuple(run + 1 if token == same else 0 for run, same in zip((*self.runs, 0), before, strict=False))
        ended = any(
            run and run + size >= max(size * self.rule.times, self.rule.min_length) for size, run in enumerate(runs, 1)
        )
        return Loops(self.rule, (*self.recent, token)[-self.rule.max_size :], runs, ended)


@dataclass(frozen=True)
class RepetitionStop(Stage):
    """End a text that loops: its last tokens are one sequence of up to max_size tokens, several times over.

    The text ends with the first token after which, for some size k of at most max_size, every one of its last n tokens
    equals the one k before it, n - k of them, where n = max(k * times, min_length). So a single token must come
    min_length times in a row, and a longer sequence `times` times, the last time perhaps in part. Only generated tokens
    count; nothing is cut off, and the reason is "stop". Below min_new_tokens no text ends.

    With min_length=1 it is the rule of vLLM's `repetition_detection` (max_pattern_size, min_count), which calls a row
    of digits or dashes a loop, too.

    Raises:
        InvalidParameter: if a number is no integer, or out of its range.

    >>> import decodelab as dl
    >>> model = dl.TableModel(["la", "di"], {"la": {"di": 1.0}, ...: {"la": 1.0}}, eos=None)
    >>> best = dl.generate(model, "di", "repetition_stop(times=3, min_length=6) | greedy")[0].best
    >>> best.text, best.finish_reason
    (' la di la di la di', 'stop')
    """

    max_size: Annotated[int, "largest number of tokens that are repeated, in [1, 4096]"] = 64
    times: Annotated[int, "how often they stand at the end of the text, at least 2"] = 3
    min_length: Annotated[int, "least number of tokens that the repetitions have together, at least 1"] = 24

    name: ClassVar[str] = "repetition_stop"
    kind: ClassVar[Kind] = "stop"
    source: ClassVar[str] = "vLLM, RepetitionDetectionParams; here with a least length"
    uses_randomness: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "max_size", low=1, high=4096, integer=True, fix="use 64")
        check_number(self, "times", low=2, integer=True, fix="use 3")
        check_number(self, "min_length", low=1, integer=True, fix="use 24, or 1 for no least length")

    def begin(self) -> Loops:
        """Nothing read yet."""
        return Loops(self)
