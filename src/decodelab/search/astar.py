"""A* search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from decodelab.core.stage import check_choice, check_number
from decodelab.search._branch_and_bound import BoundedSearch


@dataclass(frozen=True)
class AStar(BoundedSearch):
    """Expand the prefix with the best possible finished sequence, until none can beat the best one found.

    A sequence of t tokens and log-probability s under the processed distribution scores s / t^length_penalty. The
    admissible heuristic `bound` is the best possible score of a prefix: it assumes that the remaining tokens cost
    nothing and that the length is the best one for the score, so s / max_new_tokens^length_penalty for a positive
    penalty and s for none. With these bounds, no search that proves as much evaluates fewer prefixes (Dechter & Pearl
    1985), but A* keeps them all, each with its distribution (4 bytes per vocabulary entry): hence a smaller default
    budget than that of `exact`. `mean` assumes that tokens stay as probable as they were: it reaches long sequences
    sooner and is not admissible, but the certificate is still correct, because it is always computed from the bounds.

    With a length penalty this is exact search for the best normalised score, which no beam guarantees. Hypotheses
    become results when they are found, not when they are taken from the queue, and the search ends when no bound is
    better than the n-th result; this evaluates no more prefixes than the textbook's order.

    Raises:
        InvalidParameter: if a parameter is out of its range.

    >>> import decodelab as dl
    >>> model = dl.TableModel(["a"], {...: {"a": 0.7, "</s>": 0.3}}, bos="<s>")
    >>> [dl.generate(model, "", s, max_new_tokens=4)[0].best.text for s in ("astar", "astar(length_penalty=1.0)")]
    ['', 'a a a a']
    """

    heuristic: Annotated[Literal["bound", "mean"], "estimate of the best completion: bound (admissible) or mean"] = (
        "bound"
    )
    n: Annotated[int, "sequences returned"] = 1
    length_penalty: Annotated[float, "exponent of the length that divides the score; 0 means the plain sum"] = 0.0
    budget: Annotated[int, "prefixes to evaluate at most, one forward token each"] = 2_000
    rows: Annotated[int, "prefixes evaluated in one pass; more is faster per prefix but evaluates more of them"] = 1
    cut: Annotated[bool, "whether sequences cut off by max_new_tokens count as finished"] = True

    name: ClassVar[str] = "astar"
    source: ClassVar[str] = "Hart, Nilsson & Raphael 1968; over continuations as in Meister et al. 2020, section 4"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_choice(self, "heuristic", ("bound", "mean"), fix="bound proves that no better sequence is left")
        check_number(self, "n", low=1, integer=True, fix="use n=5 for the five best")
        check_number(self, "length_penalty", fix="use 0 for plain log-probability, 1.0 for the mean")
        check_number(self, "budget", low=1, integer=True, fix="use 2000 for short sequences")
        check_number(self, "rows", low=1, integer=True, fix="use 1 for plain A*")
        check_choice(self, "cut", (True, False), fix="true also counts sequences cut off by the limit")

    def order(self, bound: float, score: float, length: int) -> tuple[float, ...]:
        """The best bound, or the highest mean log-probability of a token, first; of equal ones the longest."""
        return (-bound if self.heuristic == "bound" else -score / length, -length)
