"""Best-first beam search against the beam search of its paper, and what it saves."""

import math
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.protocols import LanguageModel

Tokens = tuple[int, ...]


class Found(NamedTuple):
    score: float
    tokens: Tokens
    ended: bool


def beam_of_the_paper(model: LanguageModel, width: int, limit: int) -> tuple[list[Found], int]:
    """The last beam of Meister et al.'s algorithm 1, where what has ended stays, and how many prefixes it looks at."""
    beam, looked_at = [Found(0.0, (), False)], 0
    for _ in range(limit):
        candidates: list[Found] = []
        for found in beam:
            if found.ended:
                candidates.append(found)
                continue
            looked_at += 1
            logits = model.prefill([(model.vocab.bos_id or 0, *found.tokens)])[0][0]
            for token, logprob in enumerate(logits.double().log_softmax(0).tolist()):
                if logprob > -math.inf:
                    tokens = (*found.tokens, token)
                    candidates.append(Found(found.score + logprob, tokens, token in model.vocab.eos_ids))
        beam = sorted(candidates, key=lambda f: (-f.score, f.tokens))[:width]
    return beam, looked_at


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(2, 4),
    impossible=st.sampled_from([0.0, 0.4]),
    width=st.integers(1, 5),
    limit=st.integers(1, 5),
)
@settings(max_examples=60)
def test_it_returns_what_the_papers_beam_returns_and_looks_at_no_more(
    random_table, seed, size, impossible, width, limit
):
    model = random_table(seed, size=size, impossible=impossible)
    beam, looked_at = beam_of_the_paper(model, width, limit)
    (g,) = dl.generate(model, "", dl.BestFirst(width=width, n=width), max_new_tokens=limit)
    assert [c.tokens for c in g.candidates] == [f.tokens for f in beam]
    assert [c.score for c in g.candidates] == pytest.approx([f.score for f in beam])
    (first,) = dl.generate(model, "", dl.BestFirst(width=width), max_new_tokens=limit)
    assert first.best == g.best
    assert first.cost.decode_tokens + 1 <= looked_at


def test_it_looks_at_far_fewer_prefixes_where_the_end_comes_early():
    model = dl.TableModel(["a", "b"], {...: {"a": 0.45, "b": 0.15, "</s>": 0.4}}, bos="<s>")
    (g,) = dl.generate(model, "", "best_first(width=2)", max_new_tokens=50)
    _, looked_at = beam_of_the_paper(model, 2, 50)
    assert (g.best.text, g.cost.decode_tokens) == ("", 1)
    assert looked_at == 50


def test_stop_strings_end_sequences_in_the_beam():
    model = dl.TableModel(["a", "b"], {...: {"a": 0.4, "b": 0.6}}, eos=None, bos="<s>")
    (g,) = dl.generate(model, "", "best_first(width=3, n=3)", max_new_tokens=3, stop=["b"])
    assert [(c.text, c.finish_reason) for c in g.candidates] == [
        ("", "stop"), ("a ", "stop"), ("a a ", "stop"),
    ]  # fmt: skip
