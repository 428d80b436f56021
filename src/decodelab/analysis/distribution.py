"""`distribution`: the exact next-token distribution of a strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import torch

from decodelab.analysis.logits import read_numbers
from decodelab.analysis.replay import TokensByRow, states_after
from decodelab.core.errors import EmptySupport, NonFiniteLogits, RequestError, StrategyError
from decodelab.core.protocols import LanguageModel, Processor, Randomised, Vocab
from decodelab.metrics.distribution import entropy_bits, mass_removed
from decodelab.models.loading import load
from decodelab.models.table_vocab import TableVocab
from decodelab.strategy.strategy import Strategy, StrategyLike

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class StageTrace:
    """What one processor did to the distribution; each tensor has the shape of the logits without the vocabulary.

    Attributes:
        name: the stage in the strategy language.
        kept: int64, how many tokens can still be drawn after it.
        mass_removed: float64, the probability it removed, under its input distribution.
        entropy_bits_before: float64, entropy of its input distribution.
        entropy_bits: float64, entropy of its output distribution.
    """

    name: str
    kept: Tensor
    mass_removed: Tensor
    entropy_bits_before: Tensor
    entropy_bits: Tensor


@dataclass(frozen=True)
class TracedDistribution:
    """A strategy's distribution, float32 probabilities [..., vocab], and what each processor did to it, in order."""

    probs: Tensor
    stages: tuple[StageTrace, ...]


@overload
def distribution(
    logits: Tensor | Sequence[Any] | Mapping[str, float] | None = None,
    strategy: StrategyLike | None = None,
    *,
    probs: Tensor | Sequence[Any] | Mapping[str, float] | None = None,
    words: Sequence[str] | None = None,
    prompt_tokens: TokensByRow = (),
    generated: TokensByRow = (),
    state: Sequence[Any] | None = None,
    vocab: Vocab | None = None,
    model: LanguageModel | str | None = None,
    trace: Literal[False] = False,
) -> Any: ...


@overload
def distribution(
    logits: Tensor | Sequence[Any] | Mapping[str, float] | None = None,
    strategy: StrategyLike | None = None,
    *,
    probs: Tensor | Sequence[Any] | Mapping[str, float] | None = None,
    words: Sequence[str] | None = None,
    prompt_tokens: TokensByRow = (),
    generated: TokensByRow = (),
    state: Sequence[Any] | None = None,
    vocab: Vocab | None = None,
    model: LanguageModel | str | None = None,
    trace: Literal[True],
) -> TracedDistribution: ...


def distribution(
    logits: Tensor | Sequence[Any] | Mapping[str, float] | None = None,
    strategy: StrategyLike | None = None,
    *,
    probs: Tensor | Sequence[Any] | Mapping[str, float] | None = None,
    words: Sequence[str] | None = None,
    prompt_tokens: TokensByRow = (),
    generated: TokensByRow = (),
    state: Sequence[Any] | None = None,
    vocab: Vocab | None = None,
    model: LanguageModel | str | None = None,
    trace: bool = False,
) -> Any:
    """The distribution from which a strategy draws its next token, as probabilities.

    It is exact, not estimated. For a stage that tosses a coin (`xtc`) it is the mixture over the coin's outcomes,
    the frequency of each token over many samples.

    Args:
        logits: [..., vocab], a tensor or numbers, or a number for each word: what the model gives for the next token.
        strategy: processors and perhaps a search; greedy puts all mass on the argmax.
        probs: instead of the logits, probabilities of the same shape.
        words: the words of the vocabulary, in order, for stages that look at words and for the result; a mapping from
            words brings them.
        prompt_tokens: token ids of the prompt, for stages that look at it; one sequence, or one for each row of logits.
        generated: token ids generated since, in the same form.
        state: instead of the tokens, the state of each processor, as `StageView.state` has it; None for those without.
        vocab: for stages that look at words or special tokens.
        model: brings its vocabulary, its `default`, and its logits at the generated tokens, which stages such as
            mirostat learn from; without it such a stage needs `state` once a token is generated.
        trace: also return what each processor did.

    Returns:
        float32 probabilities of the same shape; of one row with words, a dictionary of the probability of each word;
        with `trace` a `TracedDistribution`.

    Warns:
        LogitsWarning: for logits that are not negative and sum to 1, as probabilities do.

    Raises:
        NonFiniteLogits: for NaN, +inf or only -inf.
        EmptySupport: if a stage removes every token.
        StrategyError: if there is no single distribution (a beam, `default` without a model), or a stage lacks what it
            needs.
        RequestError: if tokens, states or words do not fit the logits, there is no number at all, or logits and probs
            are both given; for probabilities that are negative or do not sum to 1.
        UnknownToken: if a token id is outside the vocabulary.
        VocabularyMismatch: if the logits and the vocabulary have different sizes.

    >>> distribution([3.0, 1.0, 0.5, 0.2], "top_p=0.9").round(decimals=3).tolist()
    [0.8209999799728394, 0.11100000143051147, 0.06700000166893005, 0.0]
    >>> distribution(probs=[0.5, 0.3, 0.2], strategy="top_k=2").tolist()
    [0.625, 0.375, 0.0]
    >>> distribution(probs={"cat": 0.5, "dog": 0.3, "eel": 0.2}, strategy="top_k=2")
    {'cat': 0.625, 'dog': 0.375, 'eel': 0.0}
    >>> traced = distribution([3.0, 1.0, 0.5, 0.2], "top_k=3 | top_p=0.85", trace=True)
    >>> [(s.name, s.kept.item(), round(s.mass_removed.item(), 3)) for s in traced.stages]
    [('top_k=3', 3, 0.048), ('top_p=0.85', 2, 0.067)]
    """
    if strategy is None:
        raise RequestError("distribution: needs a strategy; write for example strategy='top_p=0.9'")
    values, words = read_numbers(logits, probs, words)
    if words is not None and vocab is None and model is None:
        vocab = TableVocab(words, eos=None, bos=None, separator="")
    lm = load(model) if isinstance(model, str) else model
    plan = Strategy.of(strategy)
    if lm is not None:
        plan = plan.resolve(lm)
    if plan.compositions:
        raise StrategyError(
            f"distribution: {plan.compositions[0]} computes the logits, but here they are given; "
            "take them from decodelab.compose(model, ...)"
        )
    if plan.stages[0].kind == "source" or not plan.search_stage.independent_rows:
        raise StrategyError(
            f"distribution: {plan} has no single next-token distribution; give processors with sample or greedy"
        )
    flat = values.reshape(-1, values.shape[-1])
    if not bool(flat.logsumexp(-1).isfinite().all()):
        raise NonFiniteLogits("distribution: logits contain NaN, +inf or only -inf; pass finite scores")
    groups = states_after(plan.processors, len(flat), flat.shape[-1], prompt_tokens, generated, state, vocab, lm)
    distributions = [_chain(plan.processors, flat[rows], states) for rows, states in groups]
    if plan.search_stage.takes_argmax:
        ends = [_argmax(steps[-1]) for steps in distributions]
    else:
        ends = [steps[-1] for steps in distributions]
    outcome = torch.cat(list(map(_probs, ends))).float().reshape(values.shape)
    if not trace:
        return outcome if words is None or outcome.dim() > 1 else dict(zip(words, _shown(outcome), strict=True))
    traces = (
        _trace(str(p), [s[i : i + 2] for s in distributions], values.shape[:-1]) for i, p in enumerate(plan.processors)
    )
    return TracedDistribution(outcome, tuple(traces))


def _shown(probs: Tensor) -> list[float]:
    """Probabilities as the shortest decimals that are the same in float32."""
    return [float(f"{p:.7g}") for p in probs.tolist()]


class _Branch(NamedTuple):
    """One way the coin of a step may fall: an interval of its uniform number, and the logits around the last stage."""

    low: float
    high: float
    before: Tensor
    after: Tensor

    @property
    def weight(self) -> float:
        """Its probability."""
        return self.high - self.low


_Distribution = tuple[_Branch, ...]
"""Branches whose weights sum to 1; one, unless a stage tosses a coin."""


def _chain(processors: Sequence[Processor], logits: Tensor, states: Sequence[Any]) -> list[_Distribution]:
    """The distribution before the first processor and after each."""
    distributions: list[_Distribution] = [(_Branch(0.0, 1.0, logits, logits),)]
    for processor, state in zip(processors, states, strict=True):
        branches: list[_Branch] = []
        for low, high, _, given in distributions[-1]:
            begin = 0.0
            for share, after in _outcomes(processor, given, state):
                end = begin + share
                if max(low, begin) < min(high, end):
                    branches.append(_Branch(max(low, begin), min(high, end), given, after))
                begin = end
        distributions.append(tuple(branches))
        if not all(bool(branch.after.logsumexp(-1).isfinite().all()) for branch in distributions[-1]):
            raise EmptySupport(f"distribution: {processor} left no token to choose from; relax it")
    return distributions


def _outcomes(processor: Processor, logits: Tensor, state: Any) -> Sequence[tuple[float, Tensor]]:
    if isinstance(processor, Randomised):
        return processor.outcomes(logits, state)
    return [(1.0, processor.apply(logits, state))]


def _argmax(distribution: _Distribution) -> _Distribution:
    """All mass of each branch on its argmax."""
    return tuple(
        b._replace(after=torch.full_like(b.after, -torch.inf).scatter_(-1, b.after.argmax(-1, keepdim=True), 0.0))
        for b in distribution
    )


def _probs(distribution: _Distribution) -> Tensor:
    """Probabilities, float64 [rows, vocab]."""
    return torch.stack([b.weight * torch.softmax(b.after, dim=-1, dtype=torch.float64) for b in distribution]).sum(0)


def _entropy_bits(distribution: _Distribution) -> Tensor:
    return entropy_bits(_probs(distribution).log())


def _trace(name: str, pairs: Sequence[Sequence[_Distribution]], shape: torch.Size) -> StageTrace:
    """What a processor did, from the distributions before and after it of each group of rows."""

    def over_rows(number: Callable[[_Distribution, _Distribution], Tensor]) -> Tensor:
        return torch.cat([number(before, after) for before, after in pairs]).reshape(shape)

    return StageTrace(
        name,
        over_rows(lambda _, distribution: torch.stack([b.after > -torch.inf for b in distribution]).any(0).sum(-1)),
        over_rows(
            lambda _, distribution: torch.stack([b.weight * mass_removed(b.before, b.after) for b in distribution]).sum(
                0
            )
        ),
        over_rows(lambda distribution, _: _entropy_bits(distribution)),
        over_rows(lambda _, distribution: _entropy_bits(distribution)),
    )
