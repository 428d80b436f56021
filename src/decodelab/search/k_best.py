"""Exact search for the n best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from decodelab.core.stage import check_choice, check_number
from decodelab.search._branch_and_bound import BoundedSearch


@dataclass(frozen=True)
class KBest(BoundedSearch):
    """Find the n most probable finished sequences under the processed distribution, best first.

    Like `exact`, with the n-th best sequence found in place of the best one: prefixes that are no more probable than it
    are not expanded. Fewer than n are returned if there are no more. The certificate covers all n: either `proved`, or
    no sequence that was not returned is more probable than `bound`.

    Raises:
        InvalidParameter: if a parameter is out of its range.

    >>> import decodelab as dl
    >>> model = dl.TableModel(["a", "b"], {...: {"a": 0.5, "b": 0.3, "</s>": 0.2}}, bos="<s>")
    >>> (g,) = dl.generate(model, "", "k_best(n=3)", max_new_tokens=2)
    >>> [c.text for c in g.candidates], g.certificate.proved
    (['a a', '', 'a b'], True)
    """

    n: Annotated[int, "sequences returned"]
    budget: Annotated[int, "prefixes to evaluate at most, one forward token each"] = 10_000
    rows: Annotated[int, "prefixes evaluated in one pass; more is faster per prefix but evaluates more of them"] = 1
    cut: Annotated[bool, "whether sequences cut off by max_new_tokens count as finished"] = True

    name: ClassVar[str] = "k_best"
    source: ClassVar[str] = "depth-first search of Stahlberg & Byrne 2019 with the n-th best as bound"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "n", low=1, integer=True, fix="use n=5 for the five best")
        check_number(self, "budget", low=1, integer=True, fix="use 10000 for short sequences")
        check_number(self, "rows", low=1, integer=True, fix="use 1 for plain depth-first search")
        check_choice(self, "cut", (True, False), fix="true also counts sequences cut off by the limit")
