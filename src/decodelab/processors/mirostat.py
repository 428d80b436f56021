"""Mirostat, version 1 and 2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.key import Keys
from decodelab.core.protocols import Vocab
from decodelab.core.stage import Kind, Stage, check_choice, check_number
from decodelab.core.values import Tokens
from decodelab.kernels.codes import MIROSTAT_1, MIROSTAT_2
from decodelab.kernels.fused import Fused, apply_fused, log_normaliser, suits

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Controller:
    """The controllers of several rows: mu, the largest surprise to allow in the next step, float64 [rows], in bits."""

    mu: Tensor

    def __getitem__(self, rows: Tensor) -> Controller:
        """The controllers of the given rows."""
        return Controller(self.mu[rows])

    def join(self, other: Controller) -> Controller:
        """The rows of this state followed by those of another."""
        return Controller(torch.cat([self.mu, other.mu]))


@dataclass(frozen=True)
class Mirostat(Stage):
    """Cut off improbable tokens so that the average surprise of the chosen tokens approaches tau.

    A controller for each row keeps mu, the allowed surprise, which starts at 2 tau. After each token

        mu <- mu - eta (surprise - tau),

    where surprise = -log2 p(token) in bits, and p is this stage's input distribution (`surprise="full"`: the paper and
    the authors' code) or its output distribution after cutting and renormalising (`surprise="truncated"`: llama.cpp,
    which therefore controls the surprise under what it draws from and keeps more tokens for the same tau).

    Version 2 keeps the tokens whose surprise under the full distribution is at most mu; if there is none, only the most
    probable token (ties by lowest id).

    Version 1 assumes Zipf's distribution, p_i ~ i^-s, estimates s from the m most probable tokens (`zipf_exponent`) and
    keeps the k most probable tokens, where k is the rank whose surprise under a Zipf distribution over the vocabulary
    is mu (`zipf_rank`), rounded down, at least 1. Ties with the k-th token are kept, as by top_k. The vocabulary is the
    model's, even if tokens have been removed before. (llama.cpp rounds k the same way; the authors' code rounds to the
    nearest and adds 1, and estimates s from m + 1 tokens.)

    Both versions always keep the most probable token. A token of infinite surprise (forced by a stage after this one)
    leaves mu unchanged. Sums are float64.

    Raises:
        InvalidParameter: if tau or eta is negative, m is below 2, or version or surprise is not one of those named.

    >>> stage = Mirostat(tau=1.5)
    >>> state = Controller(torch.tensor([2.5], dtype=torch.float64))
    >>> logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log2() * math.log(2)  # surprises of 1, 2, 3, 3 bits
    >>> stage.apply(logits, state).isinf().tolist()
    [[False, False, True, True]]
    >>> stage.update(state, logits, torch.tensor([0])).mu.round(decimals=6).tolist()
    [2.55]
    """

    tau: Annotated[float, "target surprise, in bits per token, at least 0"] = 5.0
    eta: Annotated[float, "learning rate, at least 0; 0 leaves mu at 2 tau"] = 0.1
    version: Annotated[int, "2: a threshold on surprise; 1: top-k with k from an estimated Zipf exponent"] = 2
    surprise: Annotated[str, "distribution for the surprise: full (before the cut) or truncated (after it)"] = "full"
    m: Annotated[int, "number of top tokens to estimate the exponent from (version 1), at least 2"] = 100

    name: ClassVar[str] = "mirostat"
    kind: ClassVar[Kind] = "processor"
    uses_randomness: ClassVar[bool] = False
    source: ClassVar[str] = "Basu et al. 2021 (Mirostat), algorithm 1; version 2: the authors' repository"
    keeps_argmax: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "tau", low=0.0, fix="2 to 5 bits suit most models")
        check_number(self, "eta", low=0.0, fix="try 0.1")
        check_choice(self, "version", (1, 2), fix="2 is simpler and reaches tau as well")
        check_choice(self, "surprise", ("full", "truncated"), fix="full is the paper's, truncated llama.cpp's")
        check_number(self, "m", low=2, integer=True, fix="leave it out for the paper's 100")

    @property
    def target_surprise_bits(self) -> float:
        """The average surprise that the controller aims at."""
        return self.tau

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> Controller:
        """Controllers at mu = 2 tau."""
        return Controller(torch.full((len(prompts),), 2 * self.tau, dtype=torch.float64, device=keys.sample.device))

    def fused(self, state: Controller) -> Fused:
        """How the compiled chain does the same."""
        return Fused(MIROSTAT_1, state.mu, self.m) if self.version == 1 else Fused(MIROSTAT_2, state.mu)

    def apply(self, logits: Tensor, state: Controller) -> Tensor:
        """Remove what surprises too much from float32 logits [rows, vocab]."""
        if self.version == 1:
            k = self._rank(logits, state)
            largest = logits.topk(max(k.tolist(), default=1), dim=-1).values
            return logits.masked_fill(logits < largest.gather(-1, k[:, None] - 1), -torch.inf)
        removed = _surprise_bits(logits) > state.mu[:, None]
        best = torch.zeros_like(removed).scatter_(-1, logits.argmax(dim=-1, keepdim=True), True)
        return logits.masked_fill(removed & ~best, -torch.inf)

    def update(self, state: Controller, logits: Tensor, tokens: Tensor) -> Controller:
        """Controllers after int64 tokens [rows] were chosen."""
        error = self.surprise_bits(logits, state, tokens) - self.tau
        return Controller(torch.where(error.isfinite(), state.mu - self.eta * error, state.mu))

    def surprise_bits(self, logits: Tensor, state: Controller, tokens: Tensor) -> Tensor:
        """Surprise of tokens [rows] as this stage measures it, in bits, float64 [rows]; inf for removed ones."""
        distribution = logits
        if self.surprise == "truncated":
            distribution = apply_fused(logits, [self.fused(state)]) if suits(logits) else self.apply(logits, state)
        return (log_normaliser(distribution) - distribution.gather(-1, tokens[:, None])[:, 0]) / math.log(2)

    def observe(self, logits: Tensor, state: Controller) -> dict[str, Tensor]:
        """Of each row: mu, how many tokens are kept (k), and the estimated Zipf exponent (s_hat)."""
        kept = self.apply(logits, state).isfinite().sum(dim=-1)
        return {"k": kept, "s_hat": zipf_exponent(logits, self.m), "mu": state.mu}

    def observe_choice(self, logits: Tensor, state: Controller, tokens: Tensor) -> dict[str, Tensor]:
        """By how much tokens [rows] surprised more than tau, in bits, float64 [rows]."""
        return {"surprise_error": self.surprise_bits(logits, state, tokens) - self.tau}

    def _rank(self, logits: Tensor, state: Controller) -> Tensor:
        """Version 1's k for each row, int64 [rows], from 1 to the vocabulary."""
        size = logits.shape[-1]
        k = zipf_rank(zipf_exponent(logits, self.m), state.mu, size)
        return k.clamp(1, size).to(torch.int64)


def zipf_exponent(logits: Tensor, m: int = 100) -> Tensor:
    """Estimate the exponent s of Zipf's distribution p_i ~ i^-s from the m most probable tokens.

    The least-squares estimate: sum t_i b_i / sum t_i^2 over i = 1..m-1, with t_i = log((i + 1) / i) and
    b_i = log(p_i / p_{i+1}). Exact on a Zipf distribution. Basu et al. 2021, algorithm 1.

    Args:
        logits: [rows, vocab]; tokens of -inf are left out, a row of a single token gives 0.
        m: how many tokens to look at, at least 2.

    Returns:
        float64 [rows], never negative.

    >>> zipf_exponent(-1.3 * torch.arange(1, 1001).log()[None]).round(decimals=4).tolist()
    [1.3]
    """
    largest = logits.topk(min(m, logits.shape[-1]), dim=-1).values.double()
    rank = torch.arange(1, largest.shape[-1], dtype=torch.float64, device=logits.device)
    here = largest[..., 1:].isfinite()
    t = ((rank + 1) / rank).log() * here
    b = (largest[..., :-1] - largest[..., 1:]).masked_fill(~here, 0.0)
    return (t * b).sum(-1) / t.square().sum(-1).clamp(min=torch.finfo(torch.float64).tiny)


def zipf_rank(exponent: Tensor, mu: Tensor, size: int) -> Tensor:
    """The rank k whose token surprises by mu bits under Zipf's distribution.

    k = (e 2^mu / (1 - N^-e))^(1/s) with e = s - 1 and N the size of the vocabulary, which is the distribution with its
    normalising sum taken as an integral; the limit at s = 1 is taken exactly. Basu et al. 2021, algorithm 1.

    Args:
        exponent: s, float64 [rows], at least 0.
        mu: float64 [rows], in bits.
        size: N, the number of tokens.

    Returns:
        float64 [rows], not rounded, perhaps below 1 or above N; a flat distribution (s = 0) gives inf, or 0 where mu is
        short of the N - 1 tokens' log2.

    >>> zipf_rank(torch.tensor([1.0, 2.0]).double(), torch.tensor([3.0]).double(), 1000).round(decimals=2).tolist()
    [1.16, 2.83]
    """
    epsilon = exponent - 1
    one_minus_power = -torch.expm1(-epsilon * math.log(size))
    # At s = 1 both go to 0; their ratio goes to 1 / log N.
    ratio = torch.where(epsilon == 0, 1 / math.log(max(size, 2)), epsilon / one_minus_power)
    return ((mu * math.log(2) + ratio.log()) / exponent).exp().nan_to_num(nan=float(size), posinf=torch.inf)


def _surprise_bits(logits: Tensor) -> Tensor:
    """Surprise of every token under the distribution of logits [rows, vocab]: float64, in bits."""
    return -torch.log_softmax(logits, dim=-1, dtype=torch.float64) / math.log(2)
