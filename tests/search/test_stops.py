"""Stop tokens and stop strings among the candidates: a beam goes on with as many hypotheses as it has places."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl

A, B = 0, 1
MODEL = dl.TableModel(
    ["a", "b", "c", "d"],
    {(): {"a": 0.4, "b": 0.35, "c": 0.25}, ("c",): {"d": 1.0}, ("c", "d"): {"</s>": 1.0}},
    bos="<s>",
)
"""What is likely at first ends at once under the stops below."""

BEAMS = [
    "beam(width=1, early_stopping=never)",
    "beam(width=1, early_stopping=never, dedupe=text)",
    "beam(width=1, early_stopping=never, scores=model)",
    "diverse_beam(width=2, groups=2, early_stopping=never)",
    "value_beam(width=1, scorer=logprob, weight=0, candidates=1, early_stopping=never)",
    "force_words(phrases=[d], width=1)",
]


@pytest.mark.parametrize(
    "stops",
    [{"stop_token_ids": [A, B]}, {"stop": ["a", "b"]}, {"stop": "a", "stop_token_ids": [B]}],
    ids=["ids", "strings", "both"],
)
@pytest.mark.parametrize("strategy", BEAMS)
@pytest.mark.filterwarnings("ignore:.*weight = 0 searches as")
def test_a_beam_goes_on_though_its_likeliest_candidates_end(strategy, stops):
    best = dl.generate(MODEL, "", strategy, **stops)[0].best
    assert (best.text, best.finish_reason) == ("c d", "eos")
    assert best.score == pytest.approx(math.log(0.25) / 3, rel=1e-6)


def test_beam_sampling_goes_on_too():
    chain = "beam(width=2, sampling=true, early_stopping=never, n=2)"
    found = dl.generate(MODEL, [""] * 8, chain, stop_token_ids=[A, B])
    assert all("c d" in [c.text for c in g.candidates] for g in found)


def slow_beam(model, width: int, limit: int, ends: set[int]) -> list[tuple[float, tuple[int, ...]]]:
    """From the definition of `Beam`: the first `width` candidates that end are found, the first that go on go on."""
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    pool: list[tuple[float, tuple[int, ...]]] = []
    for length in range(1, limit + 1):
        candidates = [
            (score + p, rank, token, (*prefix, token))
            for rank, (score, prefix) in enumerate(live)
            for token, p in enumerate(
                model.prefill([(model.vocab.bos_id, *prefix)])[0][0].double().log_softmax(0).tolist()
            )
            if p > -math.inf
        ]
        candidates.sort(key=lambda c: (-c[0], c[1], c[2]))
        live = []
        for place, (score, _, token, tokens) in enumerate(candidates):
            if token in ends or length == limit:
                pool += [(score / length, tokens)] if place < width else []
            elif len(live) < width:
                live.append((score, tokens))
        if not live:
            break
    return sorted(pool, key=lambda f: -f[0])[:width]


@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.integers(1, 4),
    stops=st.sets(st.integers(0, 7), max_size=7),
    limit=st.integers(1, 5),
)
@settings(max_examples=60)
def test_any_stop_tokens_leave_the_beam_of_the_definition(random_table, seed, width, stops, limit):
    model = random_table(seed, size=8, impossible=0.1)
    strategy = f"beam(width={width}, early_stopping=never, n={width})"
    # A job must be what it is alone beside one that has more to look at.
    prompts = [(model.vocab.bos_id,), (model.vocab.bos_id, 3)]
    together = dl.generate(model, prompts, strategy, max_new_tokens=limit, stop_token_ids=sorted(stops))
    alone = [dl.generate(model, [p], strategy, max_new_tokens=limit, stop_token_ids=sorted(stops))[0] for p in prompts]
    expected = slow_beam(model, width, limit, {*stops, *model.vocab.eos_ids})
    assert [c.tokens for c in together[0].candidates] == [tokens for _, tokens in expected]
    assert [g.candidates for g in together] == [g.candidates for g in alone]


@pytest.mark.parametrize(
    "strategy",
    [
        "beam(width=3, sampling=true, n=3)",
        "beam(width=3, dedupe=text, n=3)",
        "diverse_beam(width=4, groups=2, penalty=1.0, n=4)",
        "value_beam(width=2, scorer=logprob, candidates=2, n=2)",
        "force_words(phrases=[w1], width=3, n=3)",
    ],
)
def test_what_a_job_looks_at_does_not_depend_on_its_neighbours(random_table, strategy):
    model = random_table(11, size=8, impossible=0.1)
    prompts = [(model.vocab.bos_id, *more) for more in ((), (1,), (2,), (5, 5))]
    limits = {"max_new_tokens": 4, "stop_token_ids": [0, 2, 3, 5, 6]}
    together = dl.generate(model, prompts, strategy, **limits)
    assert [g.candidates for g in together] == [
        dl.generate(model, [p], strategy, **limits)[0].candidates for p in prompts
    ]


def test_a_support_of_nothing_but_ends_is_no_endless_search():
    for strategy in (*BEAMS[:3], "value_beam(width=2, scorer=logprob)"):
        best = dl.generate(MODEL, "", strategy, stop_token_ids=[0, 1, 2])[0].best
        assert (best.text, best.finish_reason) == ("a", "stop")


def test_exact_search_spends_its_budget_on_what_goes_on():
    # With a length penalty what is improbable now may score best later; the four likeliest of six children end.
    first = {"a": 0.3, "b": 0.2, "c": 0.15, "d": 0.13, "e": 0.12, "f": 0.1}
    model = dl.TableModel([*first, "g"], {(): first, ("f",): {"g": 1.0}, ("f", "g"): {"</s>": 1.0}}, bos="<s>")
    (g,) = dl.generate(model, "", "astar(budget=2, length_penalty=1.0)", stop_token_ids=[0, 1, 2, 3, 4])
    assert g.best.text == "f g"
    assert g.certificate is not None
    assert g.certificate.proved
