"""Text as it grows: whole characters, nothing that a stop string will take back, in the end exactly the text."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.engine.detokenizer import Detokenizer

Key = tuple[int, int]


class Collected:
    """The pieces a `TextStream` writes, by generation and sample."""

    def __init__(self) -> None:
        self.pieces: dict[Key, list[str]] = {}

    def __call__(self, generation: int, sample: int, text: str) -> None:
        self.pieces.setdefault((generation, sample), []).append(text)

    @property
    def texts(self) -> dict[Key, str]:
        return {key: "".join(pieces) for key, pieces in self.pieces.items()}


def stream(model, prompts, strategy, *, stop=(), revises=False, **options):
    collected = Collected()
    observer = dl.TextStream(model.vocab, collected, stop=stop, revises=revises)
    found = dl.generate(model, prompts, strategy, stop=stop, observers=[observer], **options)
    final = {(g.index, c.sample): c.text for g in found for c in g.candidates if c.text}
    return collected, final


def test_pieces_come_one_by_one(says):
    collected, final = stream(says("Hel", "lo ", "world"), "", "greedy")
    assert collected.pieces == {(0, 0): ["Hel", "lo ", "world"]}
    assert collected.texts == final


def test_what_may_become_a_stop_string_is_held_back_until_it_cannot(says):
    collected, final = stream(says("a", "E", "N", "x", "E", "N", "D"), "", "greedy", stop=["END"])
    assert collected.pieces == {(0, 0): ["a", "ENx"]}
    assert collected.texts == final == {(0, 0): "aENx"}


def test_characters_are_never_broken(says_bytes):
    data = "é👍🏽!".encode()
    collected, final = stream(says_bytes(*(bytes([b]) for b in data)), "", "greedy")
    assert collected.pieces == {(0, 0): ["é", "👍", "🏽", "!"]}
    assert final == {(0, 0): "é👍🏽!"}


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), st.data())
@settings(max_examples=60)
def test_any_text_cut_into_tokens_anywhere_streams_whole(says_bytes, text, data):
    raw = text.encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(raw)), max_size=len(raw))) | {0, len(raw)})
    pieces = [raw[a:b] for a, b in pairwise(cuts)]
    collected, final = stream(says_bytes(*pieces), "", "greedy")
    assert final.get((0, 0), "") == text
    assert collected.texts.get((0, 0), "") == text
    if "\ufffd" not in text:
        assert all("\ufffd" not in piece for piece in collected.pieces.get((0, 0), []))


@given(
    st.lists(st.text("ab.", min_size=1, max_size=3), min_size=1, max_size=10),
    st.lists(st.text("ab.", min_size=1, max_size=3), max_size=3),
)
def test_with_any_stop_strings_the_pieces_join_to_the_final_text(says, pieces, stops):
    collected, final = stream(says(*pieces), "", "greedy", stop=stops)
    assert collected.texts == final


def test_samples_and_prompts_stream_side_by_side(random_table):
    model = random_table(4)
    collected, final = stream(model, [(6,), (6, 1, 2), (6, 0)], "sample(n=4)", max_new_tokens=6, max_rows=8)
    assert collected.texts == final


def test_beams_are_written_when_they_are_final(random_table):
    collected, final = stream(random_table(4), [(6,), (6, 1)], "beam(width=3, n=2)", revises=True, max_new_tokens=6)
    assert collected.texts == final
    assert all(len(pieces) == 1 for pieces in collected.pieces.values())


def test_a_selection_reorders_candidates_but_each_keeps_its_text(random_table):
    collected, final = stream(random_table(4), "", "sample(n=5) | best_of", max_new_tokens=6)
    assert collected.texts == final


@pytest.mark.parametrize("stop", [(), (".",), ("Lily", "the ")])
def test_a_real_models_text_streams_whole(stories, stop):
    strategy = "temperature=1.5 | sample(n=3)"
    collected, final = stream(stories, ["Once", "", "The dog was"], strategy, stop=stop, max_new_tokens=60)
    assert collected.texts == final


def detokenized(vocab, prompt: list[int], tokens: list[int]) -> str:
    text = Detokenizer.after(prompt)
    for token in tokens:
        text = text.push(vocab, token)
    return text.whole


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"), min_size=1), st.data())
@settings(max_examples=200)
def test_any_text_of_a_byte_fallback_tokenizer_comes_out_token_by_token(stories, before, after, data):
    tokens = stories.vocab.encode(before + after)
    at = data.draw(st.integers(1, len(tokens)))
    prompt, rest = list(tokens[:at]), list(tokens[at:])
    assert detokenized(stories.vocab, prompt, rest) == (stories.vocab.decode_completion(prompt, rest) if rest else "")


@pytest.fixture(scope="module")
def pocket():
    return dl.load("pocket-nano")


@given(data=st.data())
@settings(max_examples=200)
def test_any_tokens_of_a_byte_level_tokenizer_even_broken_ones_come_out_as_they_decode_together(pocket, data):
    ids = st.integers(0, pocket.vocab.size - 1)
    prompt, tokens = data.draw(st.lists(ids, max_size=9)), data.draw(st.lists(ids, min_size=1, max_size=30))
    assert detokenized(pocket.vocab, prompt, tokens) == pocket.vocab.decode_completion(prompt, tokens)
