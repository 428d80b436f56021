"""Arithmetic sampling: samples that spread themselves out, drawn in parallel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.key import Keys
from decodelab.core.protocols import Advance, Ranked, Rows
from decodelab.core.stage import Kind, Stage, check_number
from decodelab.search._independent import IndependentRows
from decodelab.search.sample import inverse_cdf

if TYPE_CHECKING:
    from torch import Tensor

_CELLS = 2**52
"""As many as the random numbers tell apart: they are 53 bits and a half, rounded, so that the last bit is mostly 0."""


@dataclass(frozen=True)
class ArithmeticState:
    """The code of each live row, and what all searches without forks keep.

    Attributes:
        codes: int64 [rows], which of 2^52 equal cells of [0, 1) the row's code is in; None before the first step.
        shares: float64 [rows], the probability of what the row's code has picked so far.
        rows: live rows and the hypotheses that ended.
    """

    codes: Tensor | None
    shares: Tensor
    rows: IndependentRows


@dataclass(frozen=True)
class Arithmetic(Stage):
    """Draw n evenly spread continuations, each of which is by itself an ordinary sample.

    Every sequence has an interval of [0, 1) as long as its probability, as in arithmetic coding. Sample i is the
    sequence whose interval contains the code (b + i/n) mod 1, where b is uniform and depends on the prompt. Each sample
    follows the processed distribution; together they are evenly spread: the number of the n samples that start with a
    prefix of probability P is n P, rounded up or down. Means over the n samples are unbiased and usually vary less than
    those of independent samples.

    At each step, a code selects the token whose cumulative interval contains it, and is rescaled to that interval, as
    long as the sample's prefix is more probable than 1/n. No two samples share a prefix that is not, and where in its
    interval the code lies is unknown: from there on each token is drawn with the sample's own random number, as
    `sample` does. The distribution is the same, and no rounding error of the model grows by more than a factor of n;
    rescaled to the end, the difference of 1e-7 that a batch makes would decide the tokens after the fifteenth or so.
    While codes last, each step replaces the bits it used by new ones, the same for all samples of a prompt.

    Differs from the authors' code, which places n samples at b + i/(n + 1), leaving a gap, rescales to the end and
    uses float32; tokens are in the order of their ids. Sample 3 of 8 is not sample 3 of 100: their codes differ.

    Raises:
        InvalidParameter: if n is not an integer of at least 1.

    >>> import decodelab as dl
    >>> model = dl.TableModel(["a", "b"], {(): {"a": 0.75, "b": 0.25}}, bos="<s>", missing="eos")
    >>> sorted(c.text for c in dl.generate(model, "", "arithmetic(n=4)", seed=5)[0].candidates)
    ['a', 'a', 'a', 'b']
    """

    n: Annotated[int, "continuations per prompt, at least 1"]

    name: ClassVar[str] = "arithmetic"
    kind: ClassVar[Kind] = "search"
    source: ClassVar[str] = "Vilnis et al. 2023, section 3"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "n", low=1, integer=True, fix="use n=1 for an ordinary sample")

    @property
    def start_rows(self) -> int:
        """A row for each continuation."""
        return self.n

    peak_rows = start_rows

    def init(self, jobs: int, samples: Tensor) -> ArithmeticState:
        """A row for each continuation of each job."""
        shares = torch.ones(len(samples), dtype=torch.float64, device=samples.device)
        return ArithmeticState(None, shares, IndependentRows.start(samples))

    def step(self, logits: Tensor, state: ArithmeticState, rows: Rows) -> tuple[Advance, ArithmeticState]:
        """Append to every row the token that its code picks, or one that is drawn where its code is used up."""
        tokens = inverse_cdf(logits, rows.keys.uniform(rows.positions))
        codes = self._codes(rows) if state.codes is None else state.codes
        shares = state.shares
        by_code = shares > 1 / self.n
        if bool(by_code.any()):
            picked, after, size = _decoded(logits[by_code], codes[by_code], rows.keys[by_code], rows.positions[by_code])
            tokens = tokens.index_put((by_code,), picked)
            codes = codes.index_put((by_code,), after)
            shares = shares.index_put((by_code,), shares[by_code] * (size / _CELLS))
        advance, independent = state.rows.advance(logits, tokens, rows)
        return advance, ArithmeticState(codes[advance.parents], shares[advance.parents], independent)

    def _codes(self, rows: Rows) -> Tensor:
        """The codes of samples at their first step, evenly spread over those of a prompt."""
        shift = _cells(_shared(rows.keys).uniform(rows.positions))
        # i * 2^52 / n in integers: floats would round it.
        lattice = torch.tensor([i * _CELLS // self.n for i in range(self.n)], device=shift.device)
        return (shift + lattice[rows.keys.sample]) % _CELLS

    def finished(self, state: ArithmeticState, job: int) -> list[Ranked]:
        """The continuations by sample index."""
        return state.rows.finished(job)


def _decoded(logits: Tensor, codes: Tensor, keys: Keys, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The token that the code of each row picks, the code rescaled to its interval, and how many cells that has."""
    cumulative = torch.softmax(logits, dim=-1, dtype=torch.float64).cumsum(-1)
    cells = (cumulative / cumulative[:, -1:] * _CELLS).round().long()
    tokens = torch.searchsorted(cells, codes[:, None], right=True)
    upper = cells.gather(1, tokens)[:, 0]
    lower = torch.where(tokens[:, 0] > 0, cells.gather(1, (tokens - 1).clamp(min=0))[:, 0], 0)
    # Where in its cell a code is, nothing has depended on yet: it is drawn now.
    within = _cells(_shared(keys).uniform(positions + 1))
    return tokens[:, 0], rescaled(codes - lower, within, upper - lower), upper - lower


def _shared(keys: Keys) -> Keys:
    """Keys of numbers that all samples of a prompt share: those of sample 0."""
    return Keys(keys.words, torch.zeros_like(keys.sample))


def _cells(uniform: Tensor) -> Tensor:
    """The cells that numbers in (0, 1) are in."""
    return (uniform * _CELLS).long().clamp(max=_CELLS - 1)


def rescaled(offset: Tensor, within: Tensor, size: Tensor) -> Tensor:
    """Stretch an interval to all of [0, 1), exactly: floor((offset * 2^52 + within) / size).

    In floats, what rounding does to the last bits would become the first ones some tokens later.

    Args:
        offset: int64 [rows], which of the interval's cells the code is in.
        within: int64 [rows] below 2^52, where in its cell it is.
        size: int64 [rows], how many cells the interval has, more than the offset and at most 2^52.

    Returns:
        int64 [rows] below 2^52: uniform when the code is.

    >>> rescaled(torch.tensor([2]), torch.tensor([5]), torch.tensor([3])).item() == (2 * 2**52 + 5) // 3
    True
    """
    guess = (offset.double() / size.double() * _CELLS).long()
    # The guess is off by one or two; int64 wraps on the way, but the difference it comes to is small.
    return guess + (offset * _CELLS - guess * size + within).div(size, rounding_mode="floor")
