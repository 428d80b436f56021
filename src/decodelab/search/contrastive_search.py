"""Contrastive search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.capabilities import Need, RunnerName
from decodelab.core.errors import UnsupportedStrategy
from decodelab.core.protocols import Advance, Ranked, Rows
from decodelab.core.stage import Kind, Stage, check_number
from decodelab.kernels.fused import log_normaliser
from decodelab.search._independent import IndependentRows
from decodelab.search._top import top_ids

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ContrastiveState:
    """The rows, and what the model made of their tokens so far.

    Attributes:
        rows: the rows and the hypotheses that ended.
        context: float32 [rows, longest, width], the hidden state of each token of prompt and text, of unit length, the
            last token's last; None before the first step.
        held: bool [rows, longest], which of them are tokens: rows have prompts of different lengths.
    """

    rows: IndependentRows
    context: Tensor | None
    held: Tensor | None


@dataclass(frozen=True)
class ContrastiveSearch(Stage):
    """Among the k most probable tokens, take one that is probable and unlike the text before it.

    It takes the token with the largest (1 - alpha) p(v) - alpha max_j cos(h_v, h_j), where h_v is the last hidden state
    of the token once it is appended and h_j those of all tokens before it, including the prompt's; ties go to the more
    probable token. alpha = 0 and k = 1 are greedy search. Every step computes the k tokens of each row in one pass.

    Equal token for token to transformers 4 with `penalty_alpha` and `top_k` (remote code since version 5), except that
    p is normalised in float64, ties between probabilities go to the lowest id, and tokens removed by processors are
    never candidates.

    It needs a model that exposes hidden states: transformers models do, tables and model stages do not.

    Raises:
        InvalidParameter: if a parameter is out of its range.
        UnsupportedStrategy: when it is run, if the model does not show hidden states.

    >>> import decodelab as dl
    >>> found = dl.generate("pocket-nano", "Once upon a time", "contrastive_search(k=4, alpha=0.6)", max_new_tokens=8)
    >>> len(found[0].best.tokens), found[0].cost.decode_tokens
    (8, 32)
    """

    k: Annotated[int, "candidate tokens per step, at least 1"] = 4
    alpha: Annotated[float, "weight of the similarity to the text before, in [0, 1]; 0 is greedy"] = 0.6

    name: ClassVar[str] = "contrastive_search"
    kind: ClassVar[Kind] = "search"
    uses_randomness: ClassVar[bool] = False
    needs: ClassVar[Need] = "hidden states"
    runner: ClassVar[RunnerName] = "hidden_states"
    source: ClassVar[str] = "Su et al. 2022, A contrastive framework for neural text generation, equation 5"
    n: ClassVar[int] = 1
    start_rows: ClassVar[int] = 1
    peak_rows: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "k", low=1, integer=True, fix="use 4 to 8 as the paper does, 1 for greedy")
        check_number(self, "alpha", low=0, high=1, fix="use 0.6 as the paper does, 0 for greedy")

    @property
    def looks_at(self) -> int:
        """The k tokens of each row."""
        return self.k

    def no_effect(self) -> str | None:
        """Greedy search in disguise."""
        if self.k == 1 or self.alpha == 0:
            return f"{'k=1' if self.k == 1 else 'alpha=0'} is greedy search, which is cheaper"
        return None

    def init(self, jobs: int, samples: Tensor) -> ContrastiveState:
        """One row a job, of which nothing is known yet."""
        return ContrastiveState(IndependentRows.start(samples), None, None)

    def step(self, logits: Tensor, state: ContrastiveState, rows: Rows) -> tuple[Advance, ContrastiveState]:
        """Look at the k best tokens of every row and append the best of them."""
        if rows.ahead is None:
            raise UnsupportedStrategy(
                f"{self}: needs hidden states, which this caller does not provide; run it with decodelab.generate"
            )
        context, held = state.context, state.held
        if context is None or held is None:
            context, held = _beside([rows.ahead.prompts[job] for job in rows.jobs.tolist()])
        candidates = top_ids(logits, min(self.k, logits.shape[-1]))
        values = logits.gather(-1, candidates)
        # Most probable first, so that among equal scores it is taken.
        values, order = values.sort(dim=-1, descending=True, stable=True)
        candidates = candidates.gather(-1, order)
        possible = values.isfinite()
        parents, places = possible.nonzero(as_tuple=True)
        hidden = torch.nn.functional.normalize(rows.ahead.look(parents, candidates[possible]), dim=-1)
        found = hidden.new_zeros(*candidates.shape, hidden.shape[-1])
        found[parents, places] = hidden
        likeness = torch.bmm(found, context.transpose(1, 2)).masked_fill(~held[:, None], -torch.inf).amax(-1)
        probability = (values.double() - log_normaliser(logits)[:, None]).exp()
        scores = (1 - self.alpha) * probability - self.alpha * likeness.double()
        best = scores.masked_fill(~possible, -torch.inf).argmax(-1)
        everyone = torch.arange(len(logits))
        advance, after = state.rows.advance(logits, candidates[everyone, best], rows)
        context = torch.cat([context, found[everyone, best][:, None]], dim=1)[advance.parents]
        held = torch.cat([held, held.new_ones(len(held), 1)], dim=1)[advance.parents]
        return advance, ContrastiveState(after, context, held)

    def finished(self, state: ContrastiveState, job: int) -> list[Ranked]:
        """The one hypothesis of a job, scored by its log-probability."""
        return state.rows.finished(job)


def _beside(prompts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Hidden states [tokens, width] of several prompts as one tensor of unit vectors, aligned at the end."""
    longest = max(map(len, prompts))
    context = prompts[0].new_zeros(len(prompts), longest, prompts[0].shape[-1])
    held = torch.zeros(len(prompts), longest, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        context[row, longest - len(prompt) :] = torch.nn.functional.normalize(prompt, dim=-1)
        held[row, longest - len(prompt) :] = True
    return context, held
