"""Tokens that leave the text valid: against enumeration under beams, on real tokenizers, within stated bounds."""

import math
import warnings

import pytest
import torch

import decodelab as dl
from decodelab.checkers.python import Python
from decodelab.core.errors import EmptySupport
from decodelab.core.notices import FewerCandidates
from decodelab.pocket import code

WORDS = ["1", "+", "=", "(", ")", "x"]


def table() -> dl.TableModel:
    """Signs in which wrong Python is likelier than right."""
    distribution = {"=": 0.3, "(": 0.2, "+": 0.15, "1": 0.12, ")": 0.1, "x": 0.08, "</s>": 0.05}
    return dl.TableModel(WORDS, {...: distribution}, bos="<s>", separator="")


def right(limit: int) -> dict[tuple[int, ...], float]:
    """The programs of at most so many tokens and their log-probabilities, by enumeration and CPython's own parser."""
    import ast

    model, found = table(), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tokens, logprob, reason in model.enumerate("", limit):
            try:
                ast.parse(model.vocab.decode(tokens))
            except SyntaxError:
                continue
            if reason == "eos":
                found[tokens] = logprob
    return found


def test_a_wide_beam_finds_all_programs_and_the_best_one_first():
    programs = right(5)
    assert len(programs) > 50
    beam = "beam(width=5000, n=5000, normaliser=none, scores=model, early_stopping=never)"
    wide = f"check(checker=python, candidates=none, look=none) | {beam}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewerCandidates)
        (g,) = dl.generate(table(), "", wide, max_new_tokens=5)
    ended = {c.tokens: c.score for c in g.candidates if c.finish_reason == "eos"}
    assert ended.keys() == programs.keys()
    assert ended == pytest.approx(programs, abs=1e-5)
    assert max(programs, key=programs.__getitem__) == g.candidates[0].tokens


def test_dead_hypotheses_take_nobody_s_place():
    # The two likeliest beginnings die at once; a beam of two that learned this later would end with nothing.
    (g,) = dl.generate(
        table(), "", "check=python | beam(width=2, n=2, normaliser=none, scores=model)", max_new_tokens=3
    )
    model = table()
    assert all(not math.isinf(c.logprob) for c in g.candidates)
    assert all("=" not in c.text or c.text[0] in "1x(" for c in g.candidates)
    assert model.vocab.decode(g.best.tokens) == g.best.text


def test_as_many_living_tokens_are_kept_as_asked_for_the_most_probable_first(applied):
    stage = dl.Check("python", candidates=2)
    logits = torch.tensor([0.0, 5.0, 4.0, 3.0, 2.0, 1.0, -torch.inf, -torch.inf])
    # After "x": "+", "=", "(" and ")" in falling order; ")" is invalid, "x" and "1" go on with the name.
    kept = applied(stage, logits, (7,), (5,), table().vocab).isfinite().nonzero()[:, 0].tolist()
    assert kept == [1, 2]
    bounded = dl.Check("python", candidates=None, look=3)
    assert applied(bounded, logits, (7,), (5,), table().vocab).isfinite().nonzero()[:, 0].tolist() == [1, 2, 3]
    every = dl.Check("python", candidates=None, look=None)
    assert applied(every, logits, (7,), (5,), table().vocab).isfinite().nonzero()[:, 0].tolist() == [0, 1, 2, 3, 5]


def test_of_equally_probable_tokens_those_of_lowest_id_are_kept(applied):
    stage = dl.Check(lambda text: "prefix", candidates=3)
    flat = torch.zeros(300)
    vocab = dl.TableModel([f"w{i}" for i in range(300)], {}, eos=None, separator="").vocab
    assert applied(stage, flat, (0,), (), vocab).isfinite().nonzero()[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("search", ["greedy", "sample(n=3)", "beam(width=3, n=3)"])
def test_a_real_model_writes_nothing_but_python(search):
    items = [code.generate(seed, "test") for seed in range(6)]
    hot = f"temperature=2 | check=python | {search}" if "sample" in search else f"check=python | {search}"
    verdict = Python()
    for g in dl.generate(dl.load("pocket-nano"), [i.prompt for i in items], hot, max_new_tokens=40):
        for c in g.candidates:
            assert (
                verdict(g.prompt + c.text) == "complete"
                if c.finish_reason == "eos"
                else verdict(g.prompt + c.text) != "invalid"
            )


def test_bytes_of_one_character_may_stand_in_several_tokens(stories260k_dir):
    model = dl.load(str(stories260k_dir))
    only = dl.Check(
        lambda text: "complete" if text == " é" else "prefix" if " é".startswith(text) else "invalid", prompt=False
    )
    best = dl.generate(model, "Once", only | dl.Greedy(), max_new_tokens=9)[0].best
    assert (best.text, best.finish_reason) == (" é", "eos")


def test_a_text_that_nothing_completes_is_an_error_not_an_endless_search():
    for search in ("greedy", "sample", "beam(width=3)"):
        with pytest.raises(EmptySupport, match="check=python left no token"):
            dl.generate(table(), ")", f"check=python | {search}", max_new_tokens=10**6)
