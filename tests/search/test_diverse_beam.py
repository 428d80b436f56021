"""Diverse beams worked by hand, against a slow reference, and against what transformers 4 returned."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import InvalidParameter, UnsupportedStrategy
from decodelab.core.protocols import LanguageModel

Tokens = tuple[int, ...]


def next_logprobs(model: LanguageModel, prefix: Tokens) -> list[float]:
    logits = model.prefill([(model.vocab.bos_id or 0, *prefix)])[0]
    return (logits[0].double() - logits[0].double().logsumexp(0)).tolist()


def likeness(diversity: str, tokens: Tokens, groups: list[list[Tokens]], decay: float, n: int) -> float:
    """What the docstring of `DiverseBeam` says, of a continuation and the hypotheses of each group before."""
    others = [o for group in groups for o in group]
    if diversity == "hamming":
        return sum(o[-1] == tokens[-1] for o in others)
    if diversity == "cumulative":
        return sum(
            math.exp(-sum(a != b for o in group for a, b in zip(o, tokens, strict=True)) / decay)
            for group in groups
            if group
        )

    def grams(sequence: Tokens) -> list[Tokens]:
        return [sequence[i : i + n] for i in range(len(sequence) - n + 1)]

    return sum(grams(o).count(gram) for o in others for gram in grams(tokens))


def slow_diverse(
    model: LanguageModel, width: int, groups: int, penalty: float, limit: int, diversity: str, carried: bool, **how: Any
) -> list[tuple[Tokens, float]]:
    """Diverse beam search from its definition, in lists; early_stopping=True, plain sums of log-probabilities."""
    size = width // groups
    live: list[list[tuple[float, float, Tokens]]] = [[(0.0, 0.0, ())] for _ in range(groups)]
    pools: list[list[tuple[float, Tokens]]] = [[] for _ in range(groups)]
    for length in range(1, limit + 1):
        chosen: list[list[Tokens]] = []
        for g in range(groups):
            continuations = []
            for rank, (score, debt, prefix) in enumerate(live[g]):
                for token, logprob in enumerate(next_logprobs(model, prefix)):
                    if logprob > -math.inf:
                        tokens = (*prefix, token)
                        cost = debt + penalty * likeness(diversity, tokens, chosen, **how)
                        continuations.append((score + logprob - cost, rank, token, score + logprob, cost, tokens))
            continuations.sort(key=lambda c: (-c[0], c[1], c[2]))
            going, words = [], []
            for place, (_, _, token, score, cost, tokens) in enumerate(continuations[: 2 * size]):
                if token in model.vocab.eos_ids or length == limit:
                    if place < size:
                        pools[g].append((score, tokens))
                        words += [tokens] if token not in model.vocab.eos_ids else []
                elif len(going) < size:
                    going.append((score, cost if carried else 0.0, tokens))
            pools[g] = sorted(pools[g], key=lambda f: -f[0])[:size]
            live[g] = [] if len(pools[g]) == size else going
            chosen.append([tokens for _, _, tokens in live[g]] + words)
    return sorted(((t, s) for pool in pools for s, t in pool), key=lambda f: -f[1])


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([(2, 2), (4, 2), (3, 3), (6, 3)]),
    penalty=st.sampled_from([0.3, 1.0, 5.0]),
    diversity=st.sampled_from(["hamming", "cumulative", "ngram"]),
    decay=st.sampled_from([0.5, 1.0, 3.0]),
    n=st.integers(1, 3),
    carried=st.booleans(),
)
@settings(max_examples=60)
def test_random_tables_equal_the_slow_reference(random_table, seed, shape, penalty, diversity, decay, n, carried):
    width, groups = shape
    model = random_table(seed, impossible=0.2)
    search = dl.DiverseBeam(
        width, groups, penalty, diversity, normaliser=None, early_stopping=True, n=width, ngram=n, decay=decay,
        accumulate="penalised" if carried else "logprobs",
    )  # fmt: skip
    (g,) = dl.generate(model, "", search, max_new_tokens=5)
    expected = slow_diverse(model, width, groups, penalty, 5, diversity, carried, decay=decay, n=n)
    # Equal sequences of two groups tie, and so may others by chance of the table: compare as sets of pairs.
    assert sorted(c.tokens for c in g.candidates) == sorted(t for t, _ in expected)
    assert [c.score for c in g.candidates] == pytest.approx([s for _, s in expected], abs=1e-6)


TREE = {
    (): {"the": 0.6, "a": 0.3, "one": 0.1},
    ("the",): {"cat": 0.5, "dog": 0.4, "fish": 0.1},
    ("a",): {"cat": 0.45, "dog": 0.35, "fish": 0.2},
    ("one",): {"cat": 0.2, "dog": 0.2, "fish": 0.6},
}


@pytest.fixture(scope="module")
def tree() -> dl.TableModel:
    return dl.TableModel(["the", "a", "one", "cat", "dog", "fish"], TREE, bos="<s>", missing="eos")


def texts(model: LanguageModel, strategy: str) -> list[str]:
    (g,) = dl.generate(model, "", strategy, max_new_tokens=2)
    return [c.text for c in g.candidates]


def test_a_case_worked_by_hand(tree):
    # Group 1: the, then cat. Group 2 with penalty 1: log 0.6 - 1 = -1.51 < log 0.3 = -1.20, so a;
    # then log 0.45 - 1 = -1.80 < log 0.35 = -1.05, so dog.
    (g,) = dl.generate(tree, "", "diverse_beam(width=2, groups=2, penalty=1.0, n=2, normaliser=none)", max_new_tokens=2)
    assert [c.text for c in g.candidates] == ["the cat", "a dog"]
    assert [c.score for c in g.candidates] == pytest.approx([math.log(0.6 * 0.5), math.log(0.3 * 0.35)], abs=1e-6)
    # A penalty of 0.5 is too weak for the first token (-1.01 > -1.20) and not for the second (-1.19 < -0.92).
    assert texts(tree, "diverse_beam(width=2, groups=2, penalty=0.5, n=2)") == ["the cat", "the dog"]
    # Three groups: the third pays twice for what both before it chose.
    assert texts(tree, "diverse_beam(width=3, groups=3, penalty=3.0, n=3)") == ["the cat", "a dog", "one fish"]


def test_scores_carry_no_penalty_and_rank_all_groups_together(tree):
    (g,) = dl.generate(tree, "", "diverse_beam(width=6, groups=3, penalty=2.0, n=6)", max_new_tokens=2)
    assert [c.score for c in g.candidates] == pytest.approx([c.logprob / len(c.tokens) for c in g.candidates], rel=1e-9)
    assert [c.score for c in g.candidates] == sorted((c.score for c in g.candidates), reverse=True)


def test_the_first_group_is_a_plain_beam_and_one_group_is_all_of_it(random_table):
    model = random_table(6)
    beam = dl.generate(model, "", "beam(width=3, n=3)", max_new_tokens=5)[0].candidates
    with pytest.warns(dl.NoEffectWarning, match="a single group"):
        alone = dl.generate(model, "", "diverse_beam(width=3, groups=1, n=3)", max_new_tokens=5)
    assert alone[0].candidates == beam
    (g,) = dl.generate(model, "", "diverse_beam(width=6, groups=2, penalty=3, n=6)", max_new_tokens=5)
    assert {c.tokens for c in beam} <= {c.tokens for c in g.candidates}


def test_every_group_has_its_share_of_the_width_whatever_the_others_find(tree):
    (g,) = dl.generate(tree, "", "diverse_beam(width=6, groups=3, penalty=0.1, n=6)", max_new_tokens=2)
    assert len(g.candidates) == 6
    merged = texts(tree, "diverse_beam(width=6, groups=3, penalty=0.1, n=6, dedupe=text)")
    assert len(set(merged)) == len(merged) < 6


def test_a_strong_penalty_makes_groups_disjoint_step_by_step(random_table):
    model = random_table(3, size=8, eos_ids=0)
    (g,) = dl.generate(model, "", "diverse_beam(width=4, groups=4, penalty=1000, n=4)", max_new_tokens=4)
    for step in zip(*(c.tokens for c in g.candidates), strict=True):
        assert len(set(step)) == 4


def test_the_cumulative_penalty_fades_once_groups_have_parted(tree):
    # hamming makes the second token differ too; cumulative lets both say cat, for they differ already (decay is small).
    hamming = texts(tree, "diverse_beam(width=2, groups=2, penalty=1.0, n=2)")
    cumulative = texts(tree, "diverse_beam(width=2, groups=2, penalty=1.0, n=2, diversity=cumulative, decay=0.2)")
    assert (hamming, cumulative) == (["the cat", "a dog"], ["the cat", "a cat"])


class WithVectors:
    """A table that shows vectors of its words."""

    def __init__(self, model: dl.TableModel, vectors: list[list[float]]) -> None:
        self.model = model
        self.unit_embeddings = torch.nn.functional.normalize(torch.tensor(vectors), dim=-1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def test_embeddings_keep_groups_away_from_synonyms():
    model = dl.TableModel(
        ["big", "large", "red"], {(): {"big": 0.5, "large": 0.4, "red": 0.1}}, bos="<s>", missing="eos"
    )
    shown: Any = WithVectors(model, [[1.0, 0.0], [0.98, 0.2], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])

    def second(diversity: str) -> str:
        strategy = f"diverse_beam(width=2, groups=2, penalty=2, diversity={diversity}, n=2)"
        return dl.generate(shown, "", strategy, max_new_tokens=1)[0].candidates[1].text

    assert (second("hamming"), second("embedding")) == ("large", "red")


def test_embeddings_of_a_transformer_are_its_own():
    model = dl.load("pocket-nano")
    (g,) = dl.generate(
        model,
        "Once upon a time",
        "diverse_beam(width=4, groups=4, penalty=2, diversity=embedding, n=4)",
        max_new_tokens=6,
    )
    assert len({c.text for c in g.candidates}) > 1


def test_sampling_in_groups_draws_for_each_group_its_own(random_table):
    model = random_table(12, size=8)
    strategy = "diverse_beam(width=4, groups=4, penalty=0, sampling=true, n=4)"
    found = [dl.generate(model, "", strategy, max_new_tokens=5, seed=seed)[0].candidates for seed in range(5)]
    assert any(len({c.tokens for c in candidates}) > 1 for candidates in found)
    assert len({str([c.tokens for c in candidates]) for candidates in found}) > 1
    assert dl.generate(model, "", strategy, max_new_tokens=5, seed=3)[0].candidates == found[3]


# What `generate` of transformers 4.46.3 returned on stories260K: num_beams, num_beam_groups, diversity_penalty, prompt;
# 10 new tokens, min_new_tokens=10, num_return_sequences=num_beams.
TRANSFORMERS_4: list[tuple[int, int, float, Tokens, list[list[int]]]] = [
    (4, 4, 0.8, (1, 403, 407, 261, 378), [
        [432, 383, 286, 261, 376, 298, 315, 421, 395, 317],
        [432, 383, 286, 261, 376, 298, 315, 421, 395, 317],
        [432, 383, 286, 261, 376, 268, 414, 422, 395, 405],
        [432, 383, 286, 261, 370, 432, 268, 414, 422, 395],
    ]),
    (4, 4, 0.8, (1, 365, 421, 397), [
        [396, 261, 376, 298, 315, 421, 395, 317, 426, 338],
        [396, 261, 268, 414, 422, 395, 326, 426, 346, 401],
        [354, 267, 337, 322, 265, 282, 295, 433, 426, 346],
        [396, 261, 298, 315, 421, 395, 317, 263, 415, 414],
    ]),
    (4, 2, 0.8, (1, 403, 407, 261, 378), [
        [432, 383, 286, 261, 376, 298, 315, 421, 395, 317],
        [432, 383, 286, 261, 376, 268, 414, 422, 395, 405],
        [432, 383, 286, 261, 268, 414, 422, 395, 405, 426],
        [432, 383, 286, 261, 268, 414, 422, 395, 326, 426],
    ]),
    (4, 2, 0.8, (1, 365, 421, 397), [
        [396, 261, 376, 298, 315, 421, 395, 317, 426, 338],
        [396, 261, 376, 298, 315, 421, 395, 317, 263, 415],
        [396, 261, 298, 315, 421, 395, 317, 263, 415, 414],
        [396, 261, 298, 315, 421, 263, 415, 414, 401, 396],
    ]),
    (6, 3, 1.5, (1, 403, 407, 261, 378), [
        [432, 383, 286, 261, 376, 298, 315, 421, 395, 317],
        [432, 383, 286, 261, 376, 268, 414, 422, 395, 405],
        [383, 286, 261, 376, 298, 315, 421, 395, 317, 426],
        [383, 286, 261, 376, 298, 315, 421, 263, 415, 414],
        [432, 322, 261, 370, 272, 414, 276, 356, 432, 383],
        [432, 322, 261, 370, 272, 417, 411, 341, 432, 383],
    ]),
    (6, 3, 1.5, (1, 365, 421, 397), [
        [396, 261, 376, 298, 315, 421, 395, 317, 426, 338],
        [396, 261, 376, 298, 315, 421, 395, 317, 263, 415],
        [355, 267, 337, 322, 265, 282, 295, 433, 335, 311],
        [355, 267, 337, 322, 265, 282, 295, 433, 426, 385],
        [360, 419, 314, 412, 419, 426, 338, 397, 355, 267],
        [360, 419, 314, 412, 419, 426, 346, 397, 355, 267],
    ]),
]  # fmt: skip


def test_penalties_carried_on_find_what_transformers_4_found(stories260k_dir):
    model = dl.load(str(stories260k_dir))
    for width, groups, penalty, prompt, theirs in TRANSFORMERS_4:
        search = dl.DiverseBeam(width, groups, penalty, accumulate="penalised", scores="model", n=width)
        (g,) = dl.generate(model, [prompt], search, max_new_tokens=10, min_new_tokens=10)
        # They rank by penalised scores, we by log-probabilities.
        assert sorted(list(c.tokens) for c in g.candidates) == sorted(theirs)


def test_refusals(random_table):
    with pytest.raises(InvalidParameter, match=r"multiple of groups, got width=10 and groups=4; use width=8 or 12"):
        dl.Strategy.of("diverse_beam(width=10, groups=4)")
    with pytest.raises(InvalidParameter, match=r"diverse_beam: groups must be an integer in \[1, 2\], got 3"):
        dl.DiverseBeam(2, 3)
    with pytest.raises(InvalidParameter, match=r"diverse_beam: penalty must be a finite number, at least 0, got -1"):
        dl.DiverseBeam(2, 2, -1)
    with pytest.raises(InvalidParameter, match=r"diversity must be one of hamming, cumulative, ngram, embedding"):
        dl.Strategy.of("diverse_beam(width=2, groups=2, diversity=jaccard)")
    with pytest.raises(InvalidParameter, match=r"^diverse_beam: normaliser must be one of length, gnmt, none"):
        dl.Strategy.of("diverse_beam(width=2, groups=2, normaliser=mean)")
    with pytest.raises(UnsupportedStrategy, match=r"random-1 has no token embeddings"):
        dl.generate(random_table(1), "", "diverse_beam(width=2, groups=2, diversity=embedding)", max_new_tokens=2)


def test_stages_without_effect_are_reported():
    assert dl.Strategy.of("diverse_beam(width=4, groups=1)").no_effects() == [
        "diverse_beam(width=4, groups=1): a single group has no other group to differ from; use beam"
    ]
    assert "without a penalty" in dl.Strategy.of("diverse_beam(width=4, groups=2, penalty=0)").no_effects()[0]
