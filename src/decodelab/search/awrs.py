"""Adaptive weighted rejection sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import torch

from decodelab.checkers.catalogue import check_checker
from decodelab.checkers.reading import begin_reading
from decodelab.core.key import ATTEMPT, DRAW
from decodelab.core.protocols import Advance, AnyChecker, Ranked, Rows
from decodelab.core.reasons import EOS
from decodelab.core.stage import Kind, Stage, check_choice, check_number
from decodelab.kernels.fused import log_normaliser
from decodelab.search._particles import Particles
from decodelab.search._read_text import ReadText
from decodelab.search.sample import inverse_cdf

if TYPE_CHECKING:
    from torch import Tensor


class Accepted(NamedTuple):
    """Tokens that a constraint accepts, int64 [rows], and the logarithms of their weights, float64 [rows].

    A row for which none was found has token -1 and weight -inf.
    """

    tokens: Tensor
    log_weights: Tensor


def draw_accepted(
    logits: Tensor,
    accepts: Callable[[Tensor, Tensor], Sequence[bool]],
    numbers: Callable[[int, Tensor], Tensor],
    checks: int,
) -> Accepted:
    """Draw a token a row from a distribution restricted to those accepted, with an unbiased weight.

    Tokens are drawn, each without those rejected before, until one is accepted: without a limit on the checks it has
    the distribution p(x) / Z over the accepted tokens, Z being their mass. Let M be the mass that had not been rejected
    when it was drawn. One more token is drawn, without it: if that one is accepted, too, the weight is M, else p(x).
    So E[weight [x = a]] = p(a) for every accepted token a, and E[weight] = Z. If no check is left for one more token,
    or no mass, the weight is M; if none was accepted, it is 0. Neither makes it biased.

    Args:
        logits: float32 [rows, vocab], not normalised.
        accepts: whether the constraint accepts tokens in rows, int64 [n] each: rows, tokens; asked once for each.
        numbers: uniform numbers in (0, 1), float64 [n], of attempt 0, 1, ... in rows, int64 [n].
        checks: the most tokens to ask about in a row, at least 1.

    >>> logits, uniform = torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([0.4, 0.7, 0.1]).double()
    >>> found = draw_accepted(logits, lambda _, tokens: (tokens > 0).tolist(), lambda i, rows: uniform[i : i + 1], 3)
    >>> found.tokens.tolist(), found.log_weights.exp().round(decimals=3).tolist()  # no 0; 2 at M = 0.5, then 1
    ([2], [0.5])
    """
    left, whole = logits.clone(), log_normaliser(logits)
    mass = whole
    tokens = torch.full_like(whole, -1, dtype=torch.int64)
    log_weights = torch.full_like(whole, -torch.inf)
    active = whole.isfinite().nonzero()[:, 0]
    for attempt in range(checks):
        if not len(active):
            break
        chosen = inverse_cdf(left[active], numbers(attempt, active))
        accepted = torch.tensor(accepts(active, chosen))
        again = tokens[active] >= 0
        alone, new = active[again & ~accepted], active[~again & accepted]
        log_weights[alone] = logits[alone, tokens[alone]].double() - whole[alone]
        tokens[new] = chosen[~again & accepted]
        log_weights[new] = mass[new] - whole[new]
        left[active, chosen] = -torch.inf
        rest = log_normaliser(left[active])
        rejected = ~again & ~accepted
        mass = mass.index_put((active[rejected],), rest[rejected])
        active = active[~again & rest.isfinite()]
    return Accepted(tokens, log_weights)


@dataclass(frozen=True)
class Checked:
    """The particles, and the text of each row as far as it was read."""

    particles: Particles
    texts: tuple[ReadText | None, ...]


@dataclass(frozen=True)
class AWRS(Stage):
    """Sample with particles from the distribution given that a checker accepts the text, checking few tokens a step.

    Every particle draws its next token from the processed distribution restricted to what the checker accepts, by
    drawing tokens and dropping those that it rejects (`draw_accepted`), usually two or three; a mask (`check`, `regex`)
    checks many. The weight of a particle is multiplied by an unbiased estimate of the accepted mass, so that the
    weighted particles represent the distribution of `rejection` with the same checker: the processed one, given that no
    prefix is invalid and that the text is complete where it ends with EOS. A mask alone gives another one. When the
    effective number of particles falls below `threshold` times their number, they are resampled, as in `smc`. A
    particle that finds no accepted token in `checks` attempts gets weight 0; this costs particles, but makes nothing
    biased.

    All particles are returned, highest weight first, with copies of one finished text merged; e^score is a candidate's
    share of the weight and sums to 1. For one sample, draw a candidate by these shares; the error decreases with the
    number of particles. Where nothing is rejected this is `sample(n=particles)`, token for token.

    The weight is the estimator that genlm-control, the authors' library, calls recursive: one check more than the draw
    needs. There a proposal, more accepted tokens a weight and parts of the vocabulary can be chosen, too.

    Raises:
        InvalidParameter: if the checker is unknown, or another parameter is out of range.
        EmptySupport: if no particle is left.
        CheckerFailed: if the checker raises or returns no verdict; names the text.

    >>> import math
    >>> import decodelab as dl
    >>> model = dl.TableModel(["1", "+"], {...: {"1": 0.5, "+": 0.3, "</s>": 0.2}}, bos="<s>", separator="")
    >>> found = dl.generate(model, "", "awrs(checker=python, particles=4)", max_new_tokens=9)[0].candidates
    >>> [(c.text, round(math.exp(c.score), 2)) for c in found]
    [('', 0.39), ('1', 0.39), ('1+1', 0.2), ('+1+111++1', 0.02)]
    """

    checker: Annotated[AnyChecker, "what checks the text: python, linted_python, or in Python any function of a text"]
    particles: Annotated[int, "number of particles, at least 1; each is a row of the batch"] = 16
    checks: Annotated[int, "most tokens to check for a particle in a step, at least 2"] = 100
    threshold: Annotated[float, "resample below this share of effective particles; 0 means never"] = 0.5
    prompt: Annotated[bool, "whether the prompt is part of the text"] = True

    name: ClassVar[str] = "awrs"
    kind: ClassVar[Kind] = "search"
    source: ClassVar[str] = (
        "Lipkin et al. 2025, Fast controlled generation ... with adaptive weighted rejection sampling"
    )
    drops_dead_ends: ClassVar[bool] = True
    if_empty: ClassVar[str] = "raise particles or checks"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_checker(self, "checker")
        check_number(self, "particles", low=1, integer=True, fix="start with 16")
        check_number(self, "checks", low=2, integer=True, fix="use 100")
        check_number(self, "threshold", low=0, high=1, fix="use 0.5 for half the particles")
        check_choice(self, "prompt", (True, False), fix="false checks the generated text alone")

    @property
    def n(self) -> int:
        """The most candidates it returns."""
        return self.particles

    @property
    def start_rows(self) -> int:
        """One row a particle."""
        return self.particles

    peak_rows = start_rows

    def init(self, jobs: int, samples: Tensor) -> Checked:
        """All particles at the start, with equal weights."""
        return Checked(Particles.start(jobs, samples), (None,) * len(samples))

    def step(self, logits: Tensor, state: Checked, rows: Rows) -> tuple[Advance, Checked]:
        """Extend every live particle by an accepted token, weigh, and resample the jobs that need it."""
        keys, begun = state.particles.keys(rows), begin_reading(self.checker)
        before = [text or ReadText(begun, "") for text in state.texts]
        read: dict[tuple[int, int], ReadText] = {}

        def accepts(asked: Tensor, tokens: Tensor) -> list[bool]:
            partials, reasons = rows.partials(asked, tokens), rows.ends(asked, tokens).tolist()
            verdicts: list[bool] = []
            for row, token, partial, reason in zip(asked.tolist(), tokens.tolist(), partials, reasons, strict=True):
                text = read[row, token] = before[row].follow(begun, partial, prompt=self.prompt)
                verdicts.append(text.accepted(over=reason == EOS))
            return verdicts

        def numbers(attempt: int, asked: Tensor) -> Tensor:
            return keys[asked].uniform(rows.positions[asked], ATTEMPT + attempt if attempt else DRAW)

        found = draw_accepted(logits, accepts, numbers, self.checks)
        tokens = found.tokens.clamp(min=0)
        reasons = rows.ends(torch.arange(len(tokens)), tokens)
        advance, particles = state.particles.advance(tokens, reasons, found.log_weights, rows, self.threshold)
        going = zip(advance.parents.tolist(), advance.tokens.tolist(), strict=True)
        return advance, Checked(particles, tuple(read[pair] for pair in going))

    def finished(self, state: Checked, job: int) -> list[Ranked]:
        """The different finished hypotheses of a job by their share of the weight, largest first."""
        return state.particles.ranked(job)
