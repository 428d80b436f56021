"""Going back: no banned phrase is left, the law is the one written out, and without phrases nothing changes."""

import math
from functools import cache

import pytest

import decodelab as dl
from decodelab.core.errors import EmptySupport, InvalidParameter

ROWS = {
    (): {"a": 0.5, "b": 0.4, "</s>": 0.1},
    "a": {"a": 0.2, "b": 0.6, "</s>": 0.2},
    "b": {"a": 0.5, "b": 0.3, "</s>": 0.2},
}
MODEL = dl.TableModel(["a", "b"], ROWS, bos="<s>", separator="")
LIMIT = 4


def drawn(model: dl.TableModel, strategy: str, runs: int, limit: int = LIMIT) -> list[dl.Candidate]:
    engine = dl.Engine(model)
    for seed in range(runs):
        engine.submit("", strategy, max_new_tokens=limit, seed=seed)
    found = list(engine.run())
    assert all(isinstance(g, dl.Generation) for g in found), found
    return [g.best for g in sorted(found, key=lambda g: g.index) if isinstance(g, dl.Generation)]


def law(phrases: tuple[str, ...], limit: int) -> dict[tuple[int, ...], float]:
    """The rule of `rewind` written out: from each prefix, with what is banned after it and after what came before."""
    words = "ab"

    def row(prefix: str) -> dict[str, float]:
        return ROWS[prefix[-1:] or ()]

    @cache
    def after(prefix: str, banned: frozenset[tuple[str, str]]) -> dict[str, float]:
        allowed = {t: p for t, p in row(prefix).items() if (prefix, t) not in banned}
        if not allowed:
            return after(prefix[:-1], banned | {(prefix[:-1], prefix[-1])})
        found: dict[str, float] = {}
        for token, p in allowed.items():
            text = prefix if token == "</s>" else prefix + token
            begins = [text.find(phrase) for phrase in phrases if phrase in text]
            if begins:
                begin = min(begins)
                rest = after(text[:begin], banned | {(text[:begin], text[begin])})
            else:
                over = token == "</s>" or len(text) == limit
                rest = {text + ("." if token == "</s>" else ""): 1.0} if over else after(text, banned)
            for end, q in rest.items():
                found[end] = found.get(end, 0.0) + p / math.fsum(allowed.values()) * q
        return found

    ids = {**{word: i for i, word in enumerate(words)}, ".": 2}
    return {tuple(ids[c] for c in text): p for text, p in after("", frozenset()).items()}


@pytest.mark.parametrize("phrases", [("ab",), ("aa", "bab", "abb")])
def test_the_law_is_the_rule_written_out(agrees, phrases):
    exact = law(phrases, LIMIT)
    assert math.fsum(exact.values()) == pytest.approx(1)
    found = drawn(MODEL, str(dl.Strategy.of(dl.Rewind(phrases))), 250)
    assert agrees([c.tokens for c in found], exact) > 1e-3
    assert not any(phrase in c.text for c in found for phrase in phrases)


def test_where_no_phrase_comes_it_is_sampling_token_for_token(random_table):
    model = random_table(3)
    for seed in range(5):
        found, plain = (
            dl.generate(model, "", strategy, max_new_tokens=8, seed=seed)[0].best
            for strategy in ("temperature=0.8 | rewind(phrases=[xyz])", "temperature=0.8 | sample")
        )
        assert found.tokens == plain.tokens
        assert found.score == pytest.approx(plain.score)
        assert found.processed_logprobs == pytest.approx(plain.processed_logprobs)


def test_a_phrase_is_found_wherever_its_tokens_begin_and_in_capitals():
    pieces = {"x a": 0.4, "t": 0.3, "est. A T": 0.1, "est": 0.1, "-": 0.1}
    model = dl.TableModel(list(pieces), {...: pieces}, eos=None, bos="<s>", separator="")
    for c in drawn(model, 'rewind(phrases=["a test", "t-t"])', 30, limit=8):
        assert "a test" not in c.text.lower()
        assert "t-t" not in c.text.lower()
    assert any("A T" in c.text for c in drawn(model, 'rewind(phrases=["a t"], ignore_case=false)', 30, limit=8))


def test_what_is_banned_at_a_place_is_banned_there_only():
    model = dl.TableModel(["a", "b"], {"a": {"b": 1.0}, ...: {"a": 0.999, "b": 0.001}}, eos=None, separator="")
    found = dl.generate(model, "b", "rewind(phrases=[ab])", max_new_tokens=6)[0]
    assert found.best.text == "bbbbba"  # an a would be followed by b; at the end nothing follows it
    assert found.cost.decode_tokens > 6


def test_the_texts_of_a_real_model_are_free_of_the_phrases():
    nano = dl.load("pocket-nano")
    plain = [dl.generate(nano, "Once upon a time", "sample", seed=s, max_new_tokens=24)[0].best for s in range(3)]
    assert any(" a small" in c.text or " lived" in c.text for c in plain)
    for seed in range(3):
        strategy = 'rewind(phrases=[" a small", "lived", "."])'
        text = dl.generate(nano, "Once upon a time", strategy, seed=seed, max_new_tokens=24)[0].best.text
        assert not any(phrase in text for phrase in (" a small", "lived", "."))


def test_stops_and_limits_hold():
    found = drawn(MODEL, "stop_regex=bb | rewind(phrases=[ab])", 40, limit=3)
    assert {c.finish_reason for c in found} == {"eos", "stop", "length"}
    assert not any("bb" in c.text for c in found)


def test_where_everything_is_banned_the_error_says_so():
    with pytest.raises(EmptySupport, match=r"^prompt 0: rewind\(phrases=\[a, b\]\) found no text; ban fewer phrases"):
        dl.generate(dl.TableModel(["a", "b"], {...: {"a": 0.5, "b": 0.5}}, eos=None), "a", "rewind(phrases=[a, b])")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rewind(phrases=[])", "rewind: phrases must be one or more texts, got []; write rewind(phrases="),
        ('rewind(phrases=[""])', "rewind: phrases must be one or more texts, got"),
        ("rewind(phrases=7)", "rewind: phrases must be one or more texts, got 7"),
        ("rewind(phrases=a, rewinds=0)", "rewind: rewinds must be an integer, at least 1, got 0"),
        ("rewind(phrases=a, ignore_case=1)", "rewind: ignore_case must be one of true, false, got 1"),
    ],
)
def test_what_means_nothing_is_refused(text, message):
    with pytest.raises(InvalidParameter) as error:
        dl.parse(text)
    assert str(error.value).startswith(message)
