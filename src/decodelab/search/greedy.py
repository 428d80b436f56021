"""Greedy search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from decodelab.core.capabilities import Need
from decodelab.core.protocols import Advance, Ranked, Rows
from decodelab.core.stage import Kind, Stage
from decodelab.search._independent import IndependentRows

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Greedy(Stage):
    """Take the most probable token at every step; ties go to the lowest id.

    Equal to transformers with `do_sample=False`. The choice is made on the logits, not on normalised
    log-probabilities, whose rounding can turn a narrow lead into a tie.

    >>> import decodelab as dl
    >>> model = dl.TableModel(["a", "b"], {(): {"a": 0.6, "b": 0.4}}, bos="<s>", missing="eos")
    >>> dl.generate(model, "", "greedy")[0].best.text
    'a'
    """

    name: ClassVar[str] = "greedy"
    kind: ClassVar[Kind] = "search"
    needs: ClassVar[Need] = "text"
    uses_randomness: ClassVar[bool] = False
    takes_argmax: ClassVar[bool] = True
    independent_rows: ClassVar[bool] = True
    source: ClassVar[str] = "argmax of the next-token distribution"
    n: ClassVar[int] = 1
    start_rows: ClassVar[int] = 1
    peak_rows: ClassVar[int] = 1

    def init(self, jobs: int, samples: Tensor) -> IndependentRows:
        """One row a job."""
        return IndependentRows.start(samples)

    def step(self, logits: Tensor, state: IndependentRows, rows: Rows) -> tuple[Advance, IndependentRows]:
        """Append the argmax to every row."""
        return state.advance(logits, logits.argmax(dim=-1), rows)

    def finished(self, state: IndependentRows, job: int) -> list[Ranked]:
        """The one hypothesis of a job."""
        return state.finished(job)
