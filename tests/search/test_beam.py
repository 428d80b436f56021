"""Beam search against enumeration, against a slow beam written from its definition, and on published examples."""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.protocols import LanguageModel

Tokens = tuple[int, ...]
Early = bool | Literal["never", "no stop"]
PENALTIES = [0.0, 0.6, 1.0, 2.0, -1.0]


class Found(NamedTuple):
    tokens: Tokens
    score: float


def next_logprobs(model: LanguageModel, prefix: Tokens, chain: str = "") -> list[float]:
    """Log-probabilities after a prefix in the engine's own arithmetic, to the last digit: it decides near ties."""
    logits = model.prefill([(model.vocab.bos_id or 0, *prefix)])[0]
    for stage in dl.Strategy.of(f"{chain} | greedy").processors if chain else ():
        logits = stage.apply(logits, None)
    return (logits[0].double() - logits[0].double().logsumexp(0)).tolist()


def enumerated(model: LanguageModel, limit: int, penalty: float) -> list[Found]:
    """All finished sequences by their score, best first."""
    found: list[Found] = []

    def visit(prefix: Tokens, score: float) -> None:
        for token, logprob in enumerate(next_logprobs(model, prefix)):
            if logprob == -math.inf:
                continue
            tokens = (*prefix, token)
            if token in model.vocab.eos_ids or len(tokens) == limit:
                found.append(Found(tokens, (score + logprob) / len(tokens) ** penalty))
            else:
                visit(tokens, score + logprob)

    visit((), 0.0)
    return sorted(found, key=lambda f: -f.score)


def lengthened(length: int, penalty: float, normaliser: str | None) -> float:
    """What divides the score of a hypothesis."""
    return {"length": length**penalty, "gnmt": ((5 + length) / 6) ** penalty, None: 1.0}[normaliser]


def slow_beam(
    model: LanguageModel,
    width: int,
    penalty: float,
    early: Early,
    limit: int,
    chain: str = "",
    normaliser: str | None = "length",
    scores: str = "processed",
    dedupe: bool = False,
) -> list[Found]:
    """Beam search from its definition (the docstring of `Beam`), in lists, one hypothesis at a time."""
    live: list[tuple[float, Tokens]] = [(0.0, ())]
    pool: list[tuple[float, int, Tokens]] = []
    born = 0

    def once(ranked: list[Any], key: Any) -> list[Any]:
        seen: dict[Any, Any] = {}
        for item in ranked if dedupe else ():
            seen.setdefault(key(item), item)
        return list(seen.values()) if dedupe else ranked

    for length in range(1, limit + 1):
        continuations = [
            (score + (own if scores == "model" else distribution), rank, token, (*prefix, token))
            for rank, (score, prefix) in enumerate(live)
            for token, (distribution, own) in enumerate(
                zip(next_logprobs(model, prefix, chain), next_logprobs(model, prefix), strict=True)
            )
            if distribution > -math.inf
        ]
        continuations.sort(key=lambda c: (-c[0], c[1], c[2]))
        continuations = once(
            continuations,
            lambda c: (c[2] in model.vocab.eos_ids or length == limit, model.vocab.decode(c[3])),  # noqa: B023
        )
        live = []
        for place, (score, _, token, tokens) in enumerate(
            continuations[: width * max(2, 1 + len(model.vocab.eos_ids))]
        ):
            if token in model.vocab.eos_ids or length == limit:
                if place < width:
                    pool.append((score / lengthened(length, penalty, normaliser), born, tokens))
                    born += 1
            elif len(live) < width:
                live.append((score, tokens))
        pool = once(sorted(pool, key=lambda f: (-f[0], f[1])), lambda f: model.vocab.decode(f[2]))[:width]
        if not live:
            break
        if len(pool) == width and early != "no stop":
            horizon = limit if early == "never" and penalty > 0 else length
            if early is True or live[0][0] / lengthened(horizon, penalty, normaliser) <= pool[-1][0]:
                break
    return [Found(tokens, score) for score, _, tokens in pool]


def run(model: LanguageModel, limit: int, chain: str = "", **parameters: Any) -> list[Found]:
    beam = dl.Beam(**{"n": parameters["width"], **parameters})
    stages = [*([chain] if chain else []), beam]
    (g,) = dl.generate(model, "", stages, max_new_tokens=limit)
    assert [c.sample for c in g.candidates] == list(range(len(g.candidates)))
    return [Found(c.tokens, c.score) for c in g.candidates]


def assert_same(ours: list[Found], theirs: list[Found]) -> None:
    assert [f.tokens for f in ours] == [f.tokens for f in theirs]
    assert [f.score for f in ours] == pytest.approx([f.score for f in theirs], rel=1e-12, abs=1e-12)


# --- published examples -------------------------------------------------------------------------


def test_the_two_step_example_keeps_the_best_of_all_continuations_not_of_each():
    model = dl.TableModel(
        ["A", "B", "C"],
        {
            (): {"A": 0.5, "B": 0.3, "C": 0.2},
            ("A",): {"A": 0.6, "B": 0.2, "C": 0.2},
            ("B",): {"C": 0.4, "end": 0.3, "A": 0.3},
            ("C",): {"A": 0.5, "B": 0.5},
        },
        eos="end",
        bos="<s>",
    )
    (g,) = dl.generate(model, "", "beam(width=2, length_penalty=0.0, n=2)", max_new_tokens=2)
    assert [c.text for c in g.candidates] == ["A A", "B C"]
    assert [round(c.score, 3) for c in g.candidates] == [-1.204, -2.12]
    assert [round(c.logprob, 3) for c in g.candidates] == [-1.204, -2.12]


def test_normalising_by_length_to_the_power_0_6_ranks_the_five_lengths_as_published():
    lengths, scores = [10, 12, 10, 15, 8], [-5.2, -5.3, -5.3, -5.8, -5.9]
    fillers = 10_000
    share = (1 - math.fsum(map(math.exp, scores))) / fillers
    words = [*(f"branch{i}" for i in range(5)), "on", *(f"filler{i}" for i in range(fillers))]
    first = [*map(math.exp, scores), 0.0, *[share] * fillers, 0.0, 0.0]

    def row(prefix: tuple[str, ...]) -> Any:
        if not prefix:
            return first
        branch = prefix[0].removeprefix("branch")
        ends = not branch.isdecimal() or len(prefix) == lengths[int(branch)] - 1
        return {"end": 1.0} if ends else {"on": 1.0}

    model = dl.TableModel(words, row, eos="end", bos="<s>")
    strategy = 'beam(width=5, length_penalty=0.6, early_stopping="never", n=5)'
    (g,) = dl.generate(model, "", strategy, max_new_tokens=20)
    assert [len(c.tokens) for c in g.candidates] == [15, 12, 10, 10, 8]
    assert [round(c.logprob, 3) for c in g.candidates] == [-5.8, -5.3, -5.2, -5.3, -5.9]
    assert [c.score for c in g.candidates] == pytest.approx(
        [-5.8 / 15**0.6, -5.3 / 12**0.6, -5.2 / 10**0.6, -5.3 / 10**0.6, -5.9 / 8**0.6], abs=1e-5
    )


def test_beam_search_finds_what_greedy_misses():
    model = dl.TableModel(
        ["nice", "dog", "woman", "house", "has", "runs"],
        {
            (): {"nice": 0.5, "dog": 0.4, "house": 0.1},
            "nice": {"woman": 0.4, "house": 0.3, "runs": 0.3},
            "dog": {"has": 0.9, "runs": 0.1},
            "house": {"runs": 1.0},
        },
        bos="<s>",
    )
    greedy = dl.generate(model, "", "greedy", max_new_tokens=2)[0].best
    beam = dl.generate(model, "", "beam(width=2)", max_new_tokens=2)[0].best
    assert (greedy.text, round(math.exp(greedy.logprob), 2)) == ("nice woman", 0.2)
    assert (beam.text, round(math.exp(beam.logprob), 2)) == ("dog has", 0.36)


# --- enumeration --------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("eos_ids", [0, 1, 2])
def test_a_beam_wide_enough_for_everything_ranks_everything(penalty, eos_ids, random_table):
    model = random_table(seed=7, size=3, eos_ids=eos_ids)
    everything = enumerated(model, 4, penalty)
    found = run(model, 4, width=len(everything), length_penalty=penalty, early_stopping="never")
    assert_same(found, everything)


@given(seed=st.integers(0, 2**32 - 1), penalty=st.sampled_from(PENALTIES), eos_ids=st.integers(0, 2))
@settings(max_examples=30)
def test_a_wide_beam_returns_the_best_of_random_tables(random_table, seed, penalty, eos_ids):
    model = random_table(seed, size=3, eos_ids=eos_ids, impossible=0.3)
    everything = enumerated(model, 3, penalty)
    n = min(5, len(everything))
    found = run(model, 3, width=200, length_penalty=penalty, early_stopping="never", n=n)
    assert_same(found, everything[:n])


def test_a_beam_of_everything_holds_the_whole_probability(random_table):
    found = run(random_table(seed=2, size=3), 3, width=200, length_penalty=0.0, early_stopping="never")
    assert math.fsum(math.exp(f.score) for f in found) == pytest.approx(1, abs=1e-5)


# --- the slow reference -------------------------------------------------------------------------

tables = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "size": st.integers(1, 5),
        "eos_ids": st.integers(0, 2),
        "impossible": st.sampled_from([0.0, 0.4]),
        "steps": st.sampled_from([0.0, 1.5]),
    }
).filter(lambda t: t["eos_ids"] <= t["size"])


@given(
    table=tables,
    width=st.integers(1, 5),
    penalty=st.sampled_from(PENALTIES),
    early=st.sampled_from([True, False, "never"]),
    limit=st.integers(1, 6),
)
@settings(max_examples=150)
def test_beams_of_random_tables_equal_the_slow_reference(random_table, table, width, penalty, early, limit):
    model = random_table(**table)
    ours = run(model, limit, width=width, length_penalty=penalty, early_stopping=early)
    assert_same(ours, slow_beam(model, width, penalty, early, limit))


@given(table=tables, width=st.integers(1, 4), chain=st.sampled_from(["temperature=0.5", "top_k=2", "top_p=0.8"]))
@settings(max_examples=30)
def test_a_beam_after_processors_searches_the_processed_normalised_distribution(random_table, table, width, chain):
    model = random_table(**table)
    assert_same(run(model, 4, chain, width=width), slow_beam(model, width, 1.0, False, 4, chain))


@given(table=tables, width=st.integers(1, 4), penalty=st.sampled_from(PENALTIES), limit=st.integers(1, 6))
@settings(max_examples=60)
def test_never_stops_early_without_changing_the_result(random_table, table, width, penalty, limit):
    model = random_table(**table)
    ours = run(model, limit, width=width, length_penalty=penalty, early_stopping="never")
    assert_same(ours, slow_beam(model, width, penalty, "no stop", limit))


@given(
    table=tables,
    width=st.integers(1, 4),
    penalty=st.sampled_from(PENALTIES),
    early=st.sampled_from([True, False, "never"]),
    normaliser=st.sampled_from(["gnmt", None]),
)
@settings(max_examples=40)
def test_other_normalisers_equal_the_slow_reference(random_table, table, width, penalty, early, normaliser):
    model = random_table(**table)
    ours = run(model, 5, width=width, length_penalty=penalty, early_stopping=early, normaliser=normaliser)
    assert_same(ours, slow_beam(model, width, penalty, early, 5, normaliser=normaliser))


@given(table=tables, width=st.integers(1, 4), chain=st.sampled_from(["temperature=0.5", "top_k=2", "top_p=0.7"]))
@settings(max_examples=40)
def test_scores_of_the_model_rank_what_processors_leave(random_table, table, width, chain):
    model = random_table(**table)
    ours = run(model, 4, chain, width=width, scores="model")
    assert_same(ours, slow_beam(model, width, 1.0, False, 4, chain, scores="model"))


def test_scores_of_the_model_are_sums_of_the_tokens_log_probabilities(random_table):
    strategy = "temperature=0.3 | top_k=3 | beam(width=3, n=3, normaliser=none, scores=model)"
    (g,) = dl.generate(random_table(8), "", strategy, max_new_tokens=5, min_new_tokens=2)
    assert [c.score for c in g.candidates] == pytest.approx([c.logprob for c in g.candidates], rel=1e-12)
    assert all(len(c.tokens) > 2 or c.finish_reason == "length" for c in g.candidates)


# --- texts that several token sequences say -------------------------------------------------------


def spelled(seed: int) -> LanguageModel:
    """A random table whose words run together, so that many sequences spell one text."""
    words = ["a", "b", "ab", "ba", "aa"]

    def row(prefix: tuple[str, ...]) -> list[float]:
        rng = np.random.default_rng([seed, *map(len, prefix), *map(ord, "".join(prefix))])
        probs = np.exp(rng.normal(scale=1.5, size=len(words) + 2))
        probs[-1] = 0
        return (probs / probs.sum()).tolist()

    return dl.TableModel(words, row, eos="</s>", bos="<s>", separator="", name=f"spelled-{seed}")


@given(seed=st.integers(0, 2**32 - 1), width=st.integers(1, 5), early=st.sampled_from([True, False, "never"]))
@settings(max_examples=40)
def test_a_text_takes_one_place_as_in_the_slow_reference(seed, width, early):
    model = spelled(seed)
    ours = run(model, 4, width=width, early_stopping=early, dedupe="text")
    assert_same(ours, slow_beam(model, width, 1.0, early, 4, dedupe=True))
    texts = [model.vocab.decode(f.tokens) for f in ours]
    assert len(set(texts)) == len(texts)


def test_a_wide_beam_that_merges_texts_keeps_the_best_of_each_and_its_own_score():
    model = spelled(3)
    everything = [(model.vocab.decode(f.tokens), f) for f in enumerated(model, 3, 0.0)]
    best: dict[str, Found] = {}
    for text, found in everything:
        best.setdefault(text, found)
    ours = run(model, 3, width=400, length_penalty=0.0, early_stopping="never", dedupe="text")
    assert len(best) < len(everything)
    # A text that ends at the limit can also be spelled by a prefix that was merged away, never the other way round.
    assert [model.vocab.decode(f.tokens) for f in ours][:5] == list(best)[:5]
    assert [f.score for f in ours[:5]] == pytest.approx([f.score for f in best.values()][:5], rel=1e-12)


def test_duplicates_are_found_and_merging_them_makes_room():
    model = dl.TableModel(
        ["ab", "a", "b", "c"],
        {
            (): {"ab": 0.5, "a": 0.3, "c": 0.2},
            ("ab",): {"</s>": 1.0},
            ("a",): {"b": 1.0},
            ("a", "b"): {"</s>": 1.0},
            ("c",): {"</s>": 1.0},
        },
        bos="<s>",
        separator="",
    )
    plain = dl.generate(model, "", "beam(width=2, n=2, length_penalty=0.0)")[0]
    assert [c.text for c in plain.candidates] == ["ab", "ab"]
    assert [len(c.tokens) for c in plain.candidates] == [2, 3]
    assert plain.duplicates == ((0, 1),)
    assert plain.to_dict()["duplicates"] == ((0, 1),)
    merged = dl.generate(model, "", "beam(width=3, n=3, length_penalty=0.0, dedupe=text)")[0]
    assert [c.text for c in merged.candidates] == ["ab", "c"]
    assert merged.best.score == pytest.approx(math.log(0.5)), "the best's own, not the sum"
    assert merged.duplicates == ()


# --- beam sampling --------------------------------------------------------------------------------


def drawn_sets(weights: list[float], k: int) -> dict[frozenset[int], float]:
    """The distribution of k draws without replacement, as sets, by summing over all orders."""
    found: dict[frozenset[int], float] = {}

    def draw(chosen: tuple[int, ...], left: float, probability: float) -> None:
        if len(chosen) == min(k, len(weights)):
            found[frozenset(chosen)] = found.get(frozenset(chosen), 0.0) + probability
            return
        for i, w in enumerate(weights):
            if i not in chosen:
                draw((*chosen, i), left - w, probability * w / left)

    draw((), math.fsum(weights), 1.0)
    return found


def test_beam_sampling_draws_without_replacement_and_goes_on_with_the_best(prompts_of_one_distribution, agrees):
    rows = {
        (): {"a": 0.5, "b": 0.3, "c": 0.1, "d": 0.06, "e": 0.04},
        ("a",): {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1},
        ("b",): {"a": 0.1, "b": 0.6, "e": 0.3},
    }
    model, prompts = prompts_of_one_distribution("abcde", lambda prefix: rows.get(prefix, {"e": 0.7, "d": 0.3}), 4000)
    # Two steps of a beam of one: of two drawn the better goes on; then the better of two ends.
    distribution: dict[Tokens, float] = {}
    for first, p in drawn_sets(list(rows[()].values()), 2).items():
        token = "abcde"[min(first)]
        names, weights = zip(*rows.get((token,), {"e": 0.7, "d": 0.3}).items(), strict=True)
        for second, q in drawn_sets(list(weights), 2).items():
            best = max((weights[i], names[i]) for i in second)[1]
            sequence = ("abcde".index(token), "abcde".index(best))
            distribution[sequence] = distribution.get(sequence, 0.0) + p * q
    found = dl.generate(model, prompts, "beam(width=1, sampling=true)", max_new_tokens=2, max_rows=10_000, seed=1)
    assert agrees([g.best.tokens for g in found], distribution) > 1e-3


def test_beam_sampling_at_a_low_temperature_finds_the_most_probable_token(random_table):
    model = random_table(4)
    sampled = dl.generate(
        model, "", "temperature=0.001 | beam(width=3, n=3, sampling=true, scores=model)", max_new_tokens=4
    )
    best = dl.generate(model, "", "greedy", max_new_tokens=1)[0].best
    assert sampled[0].candidates[0].tokens[0] == best.tokens[0]


def test_beam_sampling_depends_on_the_seed_and_not_on_the_batch(random_table):
    model = random_table(1)
    strategy = "beam(width=3, n=3, sampling=true)"

    def texts(prompts: list[Tokens], seed: int) -> list[list[Tokens]]:
        return [
            [c.tokens for c in g.candidates] for g in dl.generate(model, prompts, strategy, max_new_tokens=5, seed=seed)
        ]

    assert texts([(5,), (5, 1)], 0)[1] == texts([(5, 1)], 0)[0]
    assert len({str(texts([(5,)], seed)) for seed in range(5)}) > 1


# --- what the parameters do -----------------------------------------------------------------------


def test_ties_go_to_the_better_beam_then_to_the_lowest_id():
    half = {"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}
    model = dl.TableModel(["a", "b", "c", "d"], {...: half}, eos=None, bos="<s>")
    (g,) = dl.generate(model, "", "beam(width=3, n=3)", max_new_tokens=2)
    assert [c.text for c in g.candidates] == ["a a", "a b", "a c"]


def test_fewer_sequences_than_beams_give_fewer_candidates():
    model = dl.TableModel(["a", "b"], {(): {"a": 0.9, "b": 0.1}, "a": {"</s>": 1.0}, "b": {"</s>": 1.0}}, bos="<s>")
    (g,) = dl.generate(model, "", "beam(width=25, n=25)", max_new_tokens=9)
    assert [c.text for c in g.candidates] == ["a", "b"]
    assert [c.finish_reason for c in g.candidates] == ["eos", "eos"]


def test_early_stopping_true_takes_the_first_full_pool_and_never_looks_on():
    # One token and out is likely; the better mean comes later.
    model = dl.TableModel(
        ["a", "b"],
        {(): {"</s>": 0.6, "a": 0.4}, ("a",): {"a": 1.0}, ("a", "a"): {"a": 1.0}, ("a", "a", "a"): {"</s>": 1.0}},
        bos="<s>",
    )

    def text(early: str) -> str:
        return dl.generate(model, "", f"beam(width=1, early_stopping={early})", max_new_tokens=8)[0].best.text

    assert text("true") == ""
    assert text("never") == "a a a"


def test_a_positive_length_penalty_favours_long_and_a_negative_short_sequences():
    model = dl.TableModel(["a"], {...: {"a": 0.7, "</s>": 0.3}}, bos="<s>")

    def length(penalty: float) -> int:
        strategy = f"beam(width=4, length_penalty={penalty}, early_stopping=never)"
        return len(dl.generate(model, "", strategy, max_new_tokens=8)[0].best.tokens)

    assert length(2.0) == 8
    assert length(-1.0) == 1


@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.integers(1, 5),
    early=st.sampled_from([True, False, "never"]),
    order=st.permutations(range(5)),
    max_rows=st.integers(1, 30),
)
@settings(max_examples=30)
def test_jobs_in_a_batch_are_what_they_are_alone(random_table, seed, width, early, order, max_rows):
    model = random_table(seed)
    prompts = [(5,), (5, 0), (5, 1, 1), (5, 0, 2, 3), (5, 2)]
    beam = dl.Beam(width=width, early_stopping=early, n=width)
    together = dl.generate(model, [prompts[i] for i in order], beam, max_new_tokens=5, max_rows=max_rows)
    for place, i in enumerate(order):
        alone = dl.generate(model, [prompts[i]], beam, max_new_tokens=5)[0]
        assert together[place].candidates == alone.candidates


def test_beams_do_not_depend_on_the_seed(random_table):
    model = random_table(1)
    one, two = (dl.generate(model, "", "beam(width=3, n=3)", max_new_tokens=5, seed=s)[0] for s in (0, 1))
    assert one.candidates == two.candidates


def test_scores_are_summed_in_float64():
    model = dl.TableModel(["a", "b"], {...: {"a": 1 / 3, "b": 2 / 3}}, eos=None, bos="<s>")
    (g,) = dl.generate(model, "", "beam(width=1, length_penalty=0.0)", max_new_tokens=1000)
    exact = math.fsum(g.best.processed_logprobs)
    assert g.best.score == pytest.approx(exact, rel=1e-13)
    in_float32 = torch.tensor(0.0)
    for logprob in g.best.processed_logprobs:
        in_float32 += logprob
    assert abs(float(in_float32) - exact) > 1e-4
