"""Exact search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from decodelab.core.stage import check_choice, check_number
from decodelab.search._branch_and_bound import BoundedSearch


@dataclass(frozen=True)
class Exact(BoundedSearch):
    """Find the most probable finished sequence: the mode of the processed distribution over whole sequences.

    Depth-first search: it follows the most probable tokens down to an end, as greedy search does, and then returns to
    every prefix that is still more probable than the best sequence found; continuations of other prefixes cannot win.
    The generation's certificate says whether the search finished (`proved`). If the budget ran out first, no finished
    sequence is more probable than the better of its `bound` and the result. A budget too small for a single sequence
    returns the longest prefix reached, with finish reason `pruned`.

    A sequence is finished when it ends with EOS or a stop, and also when it is cut off by `max_new_tokens`, as in every
    other search here: these are the outcomes of sampling, whose probabilities sum to 1. With `cut=false` only sequences
    that end by themselves count, as in the paper. The paper starts from the result of a beam search; here the first
    descent takes its place. The paper's length-normalised variant is `astar(length_penalty=...)` here.

    Raises:
        InvalidParameter: if a parameter is out of its range.

    >>> import decodelab as dl
    >>> rows = {(): {"a": 0.6, "b": 0.4}, ("a",): {"c": 0.5, "d": 0.5}, ("b",): {"c": 1.0}}
    >>> model = dl.TableModel(["a", "b", "c", "d"], rows, bos="<s>", missing="eos")
    >>> greedy, exact = (dl.generate(model, "", s, max_new_tokens=2)[0] for s in ("greedy", "exact"))
    >>> greedy.best.text, exact.best.text, exact.certificate.proved
    ('a c', 'b c', True)
    """

    budget: Annotated[int, "prefixes to evaluate at most, one forward token each"] = 10_000
    rows: Annotated[int, "prefixes evaluated in one pass; more is faster per prefix but evaluates more of them"] = 1
    cut: Annotated[bool, "whether sequences cut off by max_new_tokens count as finished"] = True

    name: ClassVar[str] = "exact"
    source: ClassVar[str] = "Stahlberg & Byrne 2019, On NMT Search Errors and Model Errors, section 3"
    n = 1

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "budget", low=1, integer=True, fix="use 10000 for short sequences")
        check_number(self, "rows", low=1, integer=True, fix="use 1 for plain depth-first search")
        check_choice(self, "cut", (True, False), fix="true also counts sequences cut off by the limit")
