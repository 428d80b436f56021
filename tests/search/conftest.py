"""Random tables, their exact distributions, and the statistics that compare samples with them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

import decodelab as dl
from decodelab.core.protocols import LanguageModel

Sequences = Mapping[tuple[int, ...], float]


class SeveralEos:
    """A model as it is, but for further ids that end a sequence."""

    def __init__(self, model: LanguageModel, eos_ids: tuple[int, ...]) -> None:
        self.model = model
        self.vocab = _Vocab(model.vocab, eos_ids)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


class _Vocab:
    def __init__(self, vocab: Any, eos_ids: tuple[int, ...]) -> None:
        self.vocab = vocab
        self.eos_ids = eos_ids

    def __getattr__(self, name: str) -> Any:
        return getattr(self.vocab, name)


@pytest.fixture(scope="session")
def random_table() -> Callable[..., LanguageModel]:
    """Make a table whose every row is random: `steps` > 0 rounds log-probabilities, so that they tie often."""

    def make(
        seed: int, size: int = 4, *, eos_ids: int = 1, impossible: float = 0.0, steps: float = 0.0
    ) -> LanguageModel:
        words = [f"w{i}" for i in range(size)]
        total = size + 2  # eos, bos

        def row(prefix: tuple[str, ...]) -> list[float]:
            numbers = [seed, *(int(w[1:]) if w[0] == "w" else size for w in prefix)]
            rng = np.random.default_rng(numbers)
            logits = rng.normal(scale=1.5, size=total)
            if steps:
                logits = np.round(logits / steps) * steps
            gone = rng.random(total) < impossible
            gone[int(rng.integers(total - 1))] = False
            gone[-1] = True  # BOS never comes again
            probs = np.where(gone, 0.0, np.exp(logits))
            return (probs / probs.sum()).tolist()

        model = dl.TableModel(words, row, eos="</s>", bos="<s>", name=f"random-{seed}")
        return SeveralEos(model, tuple(range(size, size - eos_ids, -1))) if eos_ids != 1 else model  # pyright: ignore[reportReturnType]

    return make


@pytest.fixture(scope="session")
def exact_distribution() -> Callable[[LanguageModel, str, int], dict[tuple[int, ...], float]]:
    """The probability of every sequence a chain of processors can give, by multiplying next-token distributions."""

    def distribution(model: LanguageModel, chain: str, limit: int) -> dict[tuple[int, ...], float]:
        found: dict[tuple[int, ...], float] = {}

        def visit(prefix: tuple[int, ...], probability: float) -> None:
            if len(prefix) == limit or (prefix and prefix[-1] in model.vocab.eos_ids):
                found[prefix] = probability
                return
            logits, _ = model.prefill([(model.vocab.bos_id or 0, *prefix)])
            for token, p in enumerate(dl.distribution(logits[0], chain).tolist()):
                if p > 0:
                    visit((*prefix, token), probability * p)

        visit((), 1.0)
        return found

    return distribution


@pytest.fixture(scope="session")
def agrees() -> Callable[[Sequence[tuple[int, ...]], Sequences], float]:
    """The p-value of Pearson's chi-square of sequences drawn against their exact distribution.

    Sequences expected fewer than five times share a cell. One that is impossible fails at once.
    """

    def p_value(drawn: Sequence[tuple[int, ...]], distribution: Sequences) -> float:
        counts = Counter(drawn)
        assert set(counts) <= set(distribution), "an impossible sequence was drawn"
        n = len(drawn)
        large = [s for s, p in distribution.items() if n * p >= 5]
        observed = [counts[s] for s in large]
        expected = [n * distribution[s] for s in large]
        rest = n - sum(expected)
        if rest > 1e-6 * n:
            observed.append(n - sum(observed))
            expected.append(rest)
        assert len(expected) > 1, "nothing to compare"
        return float(stats.chisquare(observed, np.array(expected) * n / sum(expected)).pvalue)

    return p_value


@pytest.fixture(scope="session")
def prompts_of_one_distribution() -> Callable[..., tuple[LanguageModel, list[tuple[int, ...]]]]:
    """Make a table and prompts with one distribution after them, so that one batch gives independent draws of it."""

    def make(words: Sequence[str], row: Any, count: int) -> tuple[LanguageModel, list[tuple[int, ...]]]:
        fillers = [f"filler{i}" for i in range(64)]

        def ignoring(prefix: tuple[str, ...]) -> Any:
            return row(tuple(w for w in prefix if w not in fillers))

        model = dl.TableModel([*words, *fillers], ignoring, eos="</s>", bos="<s>", name="one-distribution")
        first, bos = len(words), model.vocab.bos_id or 0
        prompts = [(bos, first + i % 64, first + i // 64 % 64, first + i // 4096) for i in range(count)]
        return model, prompts

    return make
