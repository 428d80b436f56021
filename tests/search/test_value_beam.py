"""Value beams against enumeration, against the plain beam, and against their own definition."""

import math
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import InvalidParameter, ScorerFailed

EARLY = st.sampled_from([True, False, "never"])
PENALTIES = st.sampled_from([0.0, 0.6, 1.0, -1.0])


def hashed(prompt: str, texts: Sequence[str]) -> list[float]:
    """Some number in [0, 1) for every text."""
    return [zlib.crc32(text.encode()) % 1000 / 1000 for text in texts]


def nothing(prompt: str, texts: Sequence[str]) -> list[float]:
    return [0.0 for _ in texts]


@given(seed=st.integers(0, 2**32 - 1), width=st.integers(1, 5), penalty=PENALTIES, early=EARLY, limit=st.integers(1, 6))
@settings(max_examples=60)
def test_a_scorer_that_says_nothing_leaves_the_beam_unchanged(random_table, seed, width, penalty, early, limit):
    model = random_table(seed, eos_ids=seed % 3, impossible=0.3, steps=1.5)
    shape = {"width": width, "length_penalty": penalty, "early_stopping": early, "n": width}
    (plain,) = dl.generate(model, "", dl.Beam(**shape), max_new_tokens=limit)
    (guided,) = dl.generate(model, "", dl.ValueBeam(scorer=nothing, **shape), max_new_tokens=limit)
    assert [c.tokens for c in guided.candidates] == [c.tokens for c in plain.candidates]
    assert [c.score for c in guided.candidates] == pytest.approx([c.score for c in plain.candidates])


@given(seed=st.integers(0, 2**32 - 1), penalty=PENALTIES, weight=st.sampled_from([-2.0, 0.5, 3.0]))
@settings(max_examples=25)
def test_a_beam_wide_enough_for_everything_ranks_everything(random_table, seed, penalty, weight):
    model = random_table(seed, size=3)
    everything = sorted(
        (
            (o.logprob / len(o.tokens) ** penalty + weight * hashed("", [model.vocab.decode(o.tokens)])[0], o.tokens)
            for o in model.enumerate("", 3)
        ),
        reverse=True,
    )
    beam = dl.ValueBeam(200, hashed, weight, length_penalty=penalty, early_stopping="never", n=200)
    (g,) = dl.generate(model, "", beam, max_new_tokens=3)
    assert [c.score for c in g.candidates] == pytest.approx([score for score, _ in everything], rel=1e-6, abs=1e-6)
    assert {c.tokens for c in g.candidates} == {tokens for _, tokens in everything}


def slow_value_beam(model, width: int, candidates: int, weight: float, penalty: float, limit: int, stops=()):
    """From the definition (the docstring of `ValueBeam`), one hypothesis at a time, without stopping early."""
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    pool: list[tuple[float, tuple[int, ...]]] = []
    ends = (*model.vocab.eos_ids, *stops)
    for length in range(1, limit + 1):
        listed = sorted(
            (
                (score + logprob, rank, token, (*prefix, token))
                for rank, (score, prefix) in enumerate(live)
                for token, logprob in enumerate(
                    model.prefill([(model.vocab.bos_id, *prefix)])[0][0].double().log_softmax(0).tolist()
                )
                if logprob > -math.inf
            ),
            key=lambda c: (-c[0], c[1], c[2]),
        )
        probable = listed[:candidates]
        for candidate in listed[candidates:]:
            if length < limit and sum(tokens[-1] not in ends for *_, tokens in probable) < width:
                probable.append(candidate)
        ranked = sorted(
            (
                (score / length**penalty + weight * hashed("", [model.vocab.decode(tokens)])[0], score, tokens)
                for score, _, _, tokens in probable
            ),
            key=lambda c: -c[0],
        )
        live = []
        for place, (rank, score, tokens) in enumerate(ranked):
            if tokens[-1] in ends or length == limit:
                if place < width:
                    pool.append((rank, tokens))
            elif len(live) < width:
                live.append((score, tokens))
        if not live:
            break
    return sorted(pool, key=lambda f: -f[0])[:width]  # fmt: skip


@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.integers(1, 4),
    more=st.integers(0, 6),
    weight=st.sampled_from([-1.0, 0.3, 4.0]),
    penalty=PENALTIES,
    stops=st.sets(st.integers(0, 4), max_size=4),
)
@settings(max_examples=60)
def test_value_beams_equal_the_slow_reference(random_table, seed, width, more, weight, penalty, stops):
    model = random_table(seed, impossible=0.2)
    beam = dl.ValueBeam(
        width, hashed, weight, candidates=width + more, length_penalty=penalty, early_stopping="never", n=width
    )
    (g,) = dl.generate(model, "", beam, max_new_tokens=4, stop_token_ids=sorted(stops))
    expected = slow_value_beam(model, width, width + more, weight, penalty, 4, stops)
    assert [c.tokens for c in g.candidates] == [tokens for _, tokens in expected]
    assert [c.score for c in g.candidates] == pytest.approx([score for score, _ in expected])


CITY = dl.TableModel(
    ["left", "right", "bridge", "river", "home"],
    {
        (): {"left": 0.7, "right": 0.3},
        "left": {"river": 0.9, "home": 0.1},
        "right": {"bridge": 1.0},
        "bridge": {"home": 1.0},
        "river": {"</s>": 1.0},
        "home": {"</s>": 1.0},
    },
    bos="<s>",
)


def test_external_knowledge_finds_the_way_that_is_improbable():
    def toward_home(prompt: str, texts: Sequence[str]) -> list[float]:
        return [{"left": -2.0, "river": -9.0, "bridge": -1.0}.get(text.split()[-1], 0.0) for text in texts]

    (beam,) = dl.generate(CITY, "", "beam(width=1)", max_new_tokens=5)
    (guided,) = dl.generate(CITY, "", dl.ValueBeam(1, toward_home), max_new_tokens=5)
    assert (beam.best.text, guided.best.text) == ("left river", "right bridge home")
    assert guided.best.score == pytest.approx(guided.best.processed_logprob / 4 + 0.0)


def test_the_scorer_is_asked_once_a_step_for_no_more_than_the_candidates(random_table):
    asked: list[list[str]] = []

    def listening(prompt: str, texts: Sequence[str]) -> list[float]:
        asked.append(list(texts))
        return hashed(prompt, texts)

    dl.generate(random_table(5), "", dl.ValueBeam(2, listening, candidates=5, early_stopping="never"), max_new_tokens=6)
    assert len(asked) <= 6
    assert max(map(len, asked)) == 5
    assert len(asked[0]) == 5  # of the first step's five possible words


def test_by_sentences_the_judgement_stays_until_the_next_sentence_ends():
    model = dl.TableModel(
        ["a", "b", "."],
        {
            (): {"a": 0.6, "b": 0.4},
            **{(w,): {"a": 0.5, "b": 0.5} for w in "ab"},
            **{(v, w): {".": 1.0} for v in "ab" for w in "ab"},
            ".": {"</s>": 1.0},
        },
        bos="<s>",
        separator="",
    )
    asked: list[str] = []

    def listening(prompt: str, texts: Sequence[str]) -> list[float]:
        asked.extend(texts)
        return [float(text.count("b")) for text in texts]

    beam = dl.ValueBeam(8, listening, every="sentence", early_stopping="never")
    (g,) = dl.generate(model, "", beam, max_new_tokens=4)
    assert g.best.text == "bb."
    assert {text for text in asked if len(text) == 2} == set()
    assert {"a", "b", "bb.", "aa."} <= set(asked)


def test_jobs_in_a_batch_are_what_they_are_alone(random_table):
    model = random_table(9)
    prompts = [(5,), (5, 0), (5, 1, 1), (5, 2)]
    beam = dl.ValueBeam(3, hashed, 2.0, n=3)
    together = dl.generate(model, prompts, beam, max_new_tokens=5, max_rows=7)
    for prompt, generation in zip(prompts, together, strict=True):
        assert generation.candidates == dl.generate(model, [prompt], beam, max_new_tokens=5)[0].candidates


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("value_beam(width=0, scorer=logprob)", "value_beam: width must be an integer, at least 1, got 0"),
        ("value_beam(width=2, scorer=path)", "value_beam: scorer must be one of .*; did you mean 'path_cost'"),
        ("value_beam(width=2, scorer=logprob, every=word)", "value_beam: every must be one of token, sentence"),
        ("value_beam(width=4, scorer=logprob, candidates=3)", "value_beam: candidates must be an integer, at least 4"),
        ("value_beam(width=2, scorer=logprob, n=3)", r"value_beam: n must be an integer in \[1, 2\], got 3"),
        ("value_beam(width=2, scorer=logprob, weight=nan)", "value_beam: weight must be a finite number"),
        ("value_beam(width=2)", "value_beam needs scorer"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(text, error):
    with pytest.raises(InvalidParameter, match=error):
        dl.Strategy.of(text)


def test_a_scorer_that_raises_fails_its_generation_with_the_text(random_table):
    def broken(prompt: str, texts: Sequence[str]) -> list[float]:
        raise RuntimeError("no judge today")

    with pytest.raises(ScorerFailed, match='broken> raised RuntimeError: "no judge today" for the text '):
        dl.generate(random_table(1), "", dl.ValueBeam(2, broken), max_new_tokens=3)


def test_a_named_scorer_makes_the_round_trip():
    strategy = dl.Strategy.of("temperature=0.5 | value_beam(width=4, scorer=self_eval, weight=2, every=sentence)")
    assert dl.parse(str(strategy)) == dl.Strategy.from_yaml(strategy.to_yaml()) == strategy
