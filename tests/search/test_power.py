"""Power sampling: the law over whole texts, of any length, under any proposal."""

import math
from bisect import bisect
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

import decodelab as dl
from decodelab.core.errors import InvalidParameter, UnsupportedStrategy
from decodelab.core.protocols import Draw, Drawn, Question
from decodelab.core.values import Candidate, Limits
from decodelab.search.power import Power
from decodelab.testing.stage import check_stage

LETTERS = {
    (): {"a": 0.42, "b": 0.33, "</s>": 0.25},
    "a": {"a": 0.45, "b": 0.25, "</s>": 0.3},
    "b": {"a": 0.25, "b": 0.4, "</s>": 0.35},
}
MODEL = dl.TableModel(["a", "b"], LETTERS, bos="<s>", separator="")
BOS, EOS = MODEL.vocab.bos_id or 0, MODEL.vocab.eos_ids[0]
LIMIT = 3


def target(alpha: float) -> dict[tuple[int, ...], float]:
    """The exact law p^alpha over the model's texts."""
    powers = {o.tokens: math.exp(alpha * o.logprob) for o in MODEL.enumerate("", LIMIT)}
    return {tokens: p / math.fsum(powers.values()) for tokens, p in powers.items()}


class Table:
    """Draws from the table under a chain of processors, each from the numbers of its index and position alone."""

    def __init__(self, chain: str) -> None:
        self.chain = chain
        self.row = cache(self._row)
        self.numbers = np.random.default_rng(7).random((65_536, LIMIT)).tolist()

    def _row(self, tokens: tuple[int, ...]) -> tuple[list[float], list[float], list[float]]:
        logits = MODEL.prefill([(BOS, *tokens)])[0][0]
        q = dl.distribution(logits, self.chain)
        return logits.double().log_softmax(-1).tolist(), q.log().tolist(), q.cumsum(-1).tolist()

    def draw(self, draw: Draw) -> Drawn:
        begun = draw.after
        tokens = list(begun.tokens if begun else ())
        own = list(begun.token_logprobs if begun else ())
        processed = list(begun.processed_logprobs if begun else ())
        most = LIMIT if draw.most is None else min(LIMIT, len(tokens) + draw.most)
        while len(tokens) < most and tokens[-1:] != [EOS]:
            p, q, cumulative = self.row(tuple(tokens))
            token = bisect(cumulative, self.numbers[draw.first][len(tokens)])
            tokens.append(token)
            own.append(p[token])
            processed.append(q[token])
        reason = "eos" if tokens[-1] == EOS else "length"
        text = MODEL.vocab.decode(tuple(tokens))
        found = Candidate(tuple(tokens), text, tuple(own), tuple(processed), reason, draw.first, 0.0)
        return Drawn(found, reason == "eos" or len(tokens) == LIMIT)


def run(search: Any, chain: str = "temperature=1.0", seed: int = 0) -> list[tuple[Candidate, float]]:
    """The candidates of a search in rounds, with what the table draws."""
    table = Table(chain)
    prompt = Question.of("", (BOS,), seed)
    rounds = search.rounds(Question(prompt.prompt, prompt.tokens, prompt.keys, MODEL), Limits(LIMIT))
    asked: Sequence[Draw] = next(rounds)
    while True:
        assert all(draw.n == 1 for draw in asked)
        try:
            asked = rounds.send([[table.draw(draw)] for draw in asked])
        except StopIteration as done:
            return done.value


def tokens_of(found: list[tuple[Candidate, float]]) -> list[tuple[int, ...]]:
    return [candidate.tokens for candidate, _ in found]


class WithoutLengths(Power):
    """The acceptance that forgets that a long text has more places to be cut at."""

    def _log_weight(self, text: Candidate, cut: int) -> float:
        return super()._log_weight(text, cut) + math.log(len(text.tokens))


@pytest.mark.parametrize(
    ("chain", "alpha", "steps", "chains"),
    [("temperature=0.25", 4, 100, 150), ("temperature=1.0", 2, 25, 400), ("temperature=2.0", 0.5, 15, 400)],
)
def test_texts_of_all_lengths_have_the_law_whatever_they_are_proposed_by(agrees, chain, alpha, steps, chains):
    found = tokens_of(run(Power(alpha, steps=steps, n=chains), chain))
    assert agrees(found, target(alpha)) > 1e-3
    assert {len(tokens) for tokens in found} == {1, 2, 3}


def test_it_holds_when_texts_grow_by_blocks(agrees):
    assert agrees(tokens_of(run(Power(2, steps=20, block=2, n=300))), target(2)) > 1e-3


def test_without_the_ratio_of_lengths_the_law_is_another(agrees):
    assert agrees(tokens_of(run(WithoutLengths(2, steps=20, n=400))), target(2)) < 1e-6


def test_what_the_chain_removes_the_law_leaves_out(agrees, exact_distribution):
    left = exact_distribution(MODEL, "top_k=2", LIMIT)
    law = {tokens: p for tokens, p in target(2).items() if tokens in left}
    found = tokens_of(run(Power(2, steps=20, n=300), "top_k=2"))
    assert agrees(found, {tokens: p / math.fsum(law.values()) for tokens, p in law.items()}) > 1e-3


class TestInTheEngine:
    def test_a_chain_is_the_same_whatever_the_number_of_chains_and_beside_other_prompts(self):
        few, many = Power(steps=4, block=2, n=2), Power(steps=4, block=2, n=6)
        alone = dl.generate(MODEL, "", few, max_new_tokens=4, seed=5)[0]
        beside = dl.generate(MODEL, ["a", "", "b"], many, max_new_tokens=4, seed=5)[1]
        assert [c.tokens for c in alone.candidates] == [c.tokens for c in beside.candidates[:2]]
        assert len({c.tokens for c in beside.candidates}) > 1

    def test_the_score_is_the_power_of_the_models_own_probability(self):
        (g,) = dl.generate(MODEL, "", "temperature=0.5 | top_k=2 | power(alpha=3, steps=3, n=4)", max_new_tokens=4)
        law = {o.tokens: o.logprob for o in MODEL.enumerate("", 4)}
        for c in g.candidates:
            assert c.score == pytest.approx(3 * law[c.tokens], abs=1e-5)

    def test_a_constraint_holds_and_its_dead_ends_are_never_taken(self):
        (g,) = dl.generate(MODEL, "", 'regex="a*b" | power(steps=5, n=8)', max_new_tokens=6)
        assert all(set(c.text[:-1]) <= {"a"} for c in g.candidates)

    def test_with_power_1_a_constraint_gives_the_models_distribution_given_it_which_a_mask_does_not(self):
        likely = {(): {"a": 0.5, "b": 0.5}, "a": {"b": 0.1, "a": 0.9}, "b": {"b": 0.9, "</s>": 0.1}}
        model = dl.TableModel(["a", "b"], likely, bos="<s>", separator="")

        def share(search: str) -> float:
            (g,) = dl.generate(model, "", f'regex="ab|bb" | {search}', max_new_tokens=3)
            return float(np.mean([c.text == "bb" for c in g.candidates]))

        assert share("sample(n=60)") == pytest.approx(0.5, abs=0.2)
        assert share("power(alpha=1, steps=8, n=40)") == pytest.approx(0.9, abs=0.15)

    def test_it_moves_within_texts_that_a_stop_string_ends(self):
        (g,) = dl.generate(MODEL, "", "power(steps=5, n=8)", max_new_tokens=6, stop=["ab"])
        assert all("ab" not in c.text for c in g.candidates)
        assert "stop" in {c.finish_reason for c in g.candidates}

    def test_it_costs_its_moves(self):
        cheap, dear = (dl.generate(MODEL, "", Power(steps=n), max_new_tokens=6)[0].cost for n in (1, 20))
        assert dear.forward_tokens > 3 * cheap.forward_tokens

    def test_processors_that_draw_are_refused_by_name(self):
        with pytest.raises(UnsupportedStrategy, match="power weighs texts by their probabilities, which xtc"):
            dl.generate(MODEL, "", "xtc=0.5 | power", max_new_tokens=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("power(alpha=0)", "power: alpha must be a finite number, greater than 0, got 0"),
        ("power(steps=0)", "power: steps must be an integer, at least 1, got 0"),
        ("power(block=0)", "power: block must be an integer, at least 1, got 0"),
        ("power(n=0)", "power: n must be an integer, at least 1, got 0"),
    ],
)
def test_what_means_nothing_is_refused(text, message):
    with pytest.raises(InvalidParameter) as error:
        dl.parse(text)
    assert str(error.value).startswith(message)


def test_it_is_a_stage():
    check_stage(Power(alpha=0.5, n=3))
