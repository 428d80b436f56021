"""`check_search` passes ours and catches each kind of broken one."""

from dataclasses import replace
from typing import Any

import pytest
import torch

import decodelab as dl
from decodelab.core.protocols import Advance
from decodelab.search import SEARCHES
from decodelab.testing import check_search

SEARCHED: dict[str, list[Any]] = {
    "greedy": [dl.Greedy()],
    "sample": [dl.Sample(), dl.Sample(n=5)],
    "contrastive_search": [dl.ContrastiveSearch(), dl.ContrastiveSearch(2, 0.9), dl.ContrastiveSearch(99, 1)],
    "beam": [
        dl.Beam(width=1),
        dl.Beam(width=3),
        dl.Beam(width=5, length_penalty=0.0, early_stopping="never", n=5),
        dl.Beam(width=10, length_penalty=-1.0, early_stopping=True, n=10),
        dl.Beam(width=3, normaliser=None, n=3),
        dl.Beam(width=3, normaliser="gnmt", scores="model", dedupe="text", n=3),
        dl.Beam(width=3, sampling=True, n=3),
        dl.Beam(width=2, sampling=True, scores="model", dedupe="text", early_stopping="never"),
    ],
    "diverse_beam": [
        dl.DiverseBeam(width=3, groups=1),
        dl.DiverseBeam(width=2, groups=2),
        dl.DiverseBeam(width=6, groups=3, penalty=2.0, n=6),
        dl.DiverseBeam(width=4, groups=2, diversity="cumulative", decay=2.0, n=4),
        dl.DiverseBeam(width=4, groups=2, diversity="ngram", n=4),
        dl.DiverseBeam(width=4, groups=4, diversity="ngram", ngram=1, n=4),
        dl.DiverseBeam(width=4, groups=2, diversity="embedding", scores="model", n=4),
        dl.DiverseBeam(width=4, groups=2, sampling=True, dedupe="text", n=4),
    ],
    "stochastic_beam": [dl.StochasticBeam(width=1), dl.StochasticBeam(width=4), dl.StochasticBeam(width=30)],
    "arithmetic": [dl.Arithmetic(n=1), dl.Arithmetic(n=5)],
}


SEARCHED["smc"] = [
    dl.SMC(particles=1, scorer=lambda prompt, texts: [0.0 for _ in texts]),
    dl.SMC(particles=6, scorer=lambda prompt, texts: [text.count("1") - text.count("2") for text in texts], weight=3),
]
SEARCHED["value_beam"] = [
    dl.ValueBeam(1, lambda prompt, texts: [text.count("1") - text.count("2") for text in texts]),
    dl.ValueBeam(4, lambda prompt, texts: [float(text[-1]) for text in texts], 2, early_stopping="never", n=4),
    dl.ValueBeam(3, lambda prompt, texts: [-len(text) for text in texts], every="sentence", candidates=3, n=2),
]


SEARCHED["force_words"] = [
    dl.ForceWords([], width=3, n=2),
    dl.ForceWords([list("0123456")], width=4, n=4, length_penalty=0.0, early_stopping="never"),
]
SEARCHED["awrs"] = [
    dl.AWRS(checker=lambda text: "complete", particles=1),
    dl.AWRS(checker=lambda text: "invalid" if text.endswith("3") else "complete", particles=5, prompt=False),
    dl.AWRS(checker=lambda text: "invalid" if text.endswith("3") else "complete", particles=6, checks=2, threshold=1),
]
SEARCHED["rejection"] = [
    dl.Rejection(checker=lambda text: "complete", n=3, tries=3),
    dl.Rejection(checker=lambda text: "invalid" if text.endswith("3") else "complete", n=2, tries=40, prompt=False),
]


@pytest.mark.parametrize("name", SEARCHES)
def test_ours_pass(name):
    assert SEARCHED[name], "a new search must be tried with parameters of its own"
    for search in SEARCHED[name]:
        check_search(search)


class Wrapped:
    """Sampling twice a job behind a plain object; the broken ones below each break one thing."""

    start_rows = 2
    peak_rows = 2
    n = 2

    def __init__(self) -> None:
        self.inner: Any = dl.Sample(n=2)

    def init(self, jobs, samples):
        return self.inner.init(jobs, samples)

    def step(self, logits, state, rows):
        return self.inner.step(logits, state, rows)

    def finished(self, state, job):
        return self.inner.finished(state, job)


class DrawsFromTheGlobalGenerator(Wrapped):
    def step(self, logits, state, rows):
        tokens = logits.softmax(-1).multinomial(1)[:, 0]
        return state.advance(logits, tokens, rows)


class ChoosesTheImpossible(Wrapped):
    def step(self, logits, state, rows):
        return state.advance(logits.clamp(min=-99), logits.argmin(-1), rows)


class ChangesTheLogits(Wrapped):
    def step(self, logits, state, rows):
        return self.inner.step(logits.sub_(1), state, rows)


class Remembers(Wrapped):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def step(self, logits, state, rows):
        self.calls += 1
        return state.advance(logits, logits.topk(2).indices[:, 0 if self.calls < 4 else 1], rows)


class ChangesItsState(Wrapped):
    def step(self, logits, state, rows):
        place = (state.scores < -50).long()
        state.scores.sub_(60)
        return state.advance(logits, logits.topk(2).indices.gather(1, place[:, None])[:, 0], rows)


class LooksAtTheBatch(Wrapped):
    def step(self, logits, state, rows):
        pooled = logits.masked_fill(logits.isinf(), -1e4).mean(0).expand_as(logits)
        return state.advance(logits, (pooled + torch.where(logits.isinf(), -1e9, 0.0)).argmax(-1), rows)


class Reverses(Wrapped):
    def step(self, logits, state, rows):
        advance, after = self.inner.step(logits, state, rows)
        flipped = replace(after, samples=after.samples.flip(0), scores=after.scores.flip(0))
        return replace(advance, parents=advance.parents.flip(0), tokens=advance.tokens.flip(0)), flipped


class IgnoresTheEnd(Wrapped):
    def step(self, logits, state, rows):
        go_on = replace(rows, ends=lambda parents, tokens: torch.zeros_like(tokens))
        return self.inner.step(logits, state, go_on)


class EndsTooSoon(Wrapped):
    def step(self, logits, state, rows):
        return self.inner.step(logits, state, replace(rows, ends=lambda p, t: rows.ends(p, t).clamp(min=3)))


class MistakesTheReason(Wrapped):
    def step(self, logits, state, rows):
        advance, after = self.inner.step(logits, state, rows)
        return replace(advance, ended_reasons=torch.full_like(advance.ended_reasons, 2)), after


class DropsARow(Wrapped):
    """Loses the job of the last row without ever finishing it."""

    def step(self, logits, state, rows):
        advance, after = self.inner.step(logits, state, rows)
        kept = rows.jobs[advance.parents] != rows.jobs[-1]
        after = replace(after, samples=after.samples[kept], scores=after.scores[kept])
        none = advance.ended_parents[:0]
        return Advance(advance.parents[kept], advance.tokens[kept], none, none, none), after


class ForksWithoutSayingSo(Wrapped):
    def step(self, logits, state, rows):
        advance, after = self.inner.step(logits, state, rows)
        twice = torch.arange(len(advance.parents)).repeat_interleave(2)
        after = replace(after, samples=after.samples[twice], scores=after.scores[twice])
        return replace(advance, parents=advance.parents[twice], tokens=advance.tokens[twice]), after


class BeginsWithMoreThanItSays(Wrapped):
    peak_rows = 1


class ReturnsNothing(Wrapped):
    def finished(self, state, job):
        return []


class ReturnsTooMuch(Wrapped):
    n = 1


class ReturnsTheSameTwice(Wrapped):
    def finished(self, state, job):
        return [self.inner.finished(state, job)[0]] * 2


class ReturnsAnothersHypothesis(Wrapped):
    def finished(self, state, job):
        return self.inner.finished(state, 0)


class ScoresWithNan(Wrapped):
    def finished(self, state, job):
        return [replace(r, score=float("nan")) for r in self.inner.finished(state, job)]


def test_the_unbroken_wrapper_passes():
    check_search(Wrapped())


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (DrawsFromTheGlobalGenerator, "pure|global generator"),
        (ChoosesTheImpossible, "an impossible token must not be chosen"),
        (ChangesTheLogits, "must not change the logits"),
        (Remembers, "pure"),
        (ChangesItsState, "pure"),
        (LooksAtTheBatch, "must not depend on those beside it"),
        (Reverses, "ordered by job"),
        (IgnoresTheEnd, "what ends must not go on"),
        (EndsTooSoon, "what goes on must not be reported as ended"),
        (MistakesTheReason, "the reason of an end"),
        (DropsARow, "without rows must have a finished hypothesis"),
        (ForksWithoutSayingSo, "never have more than peak_rows"),
        (BeginsWithMoreThanItSays, "at most peak_rows"),
        (ReturnsNothing, "at least one hypothesis"),
        (ReturnsTooMuch, "at most n hypotheses"),
        (ReturnsTheSameTwice, "twice"),
        (ReturnsAnothersHypothesis, "hypotheses of its job"),
        (ScoresWithNan, "scores must be finite"),
    ],
)
def test_each_kind_of_broken_search_is_caught_by_its_own_rule(broken, rule):
    with pytest.raises(AssertionError, match=rule) as error:
        check_search(broken())
    assert "\n" not in str(error.value)
