"""Text to tokens and back, for SentencePiece-like, byte-level and word tokenizers, and chats."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import GPT2Tokenizer, PreTrainedTokenizerFast

from decodelab.core.errors import RequestError, UnknownToken
from decodelab.core.values import Chat
from decodelab.models import load
from decodelab.models.transformers_vocab import TransformersVocab

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Without the character that SentencePiece writes for a space, and what no UTF-8 has.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=12)
TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
    "{% for t in tools or [] %}[tool] {{ t.function.name }} {% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture(scope="module")
def pieces(stories260k_dir) -> TransformersVocab:
    """SentencePiece as Llama uses it: a space is put before every text, unknown characters fall back to bytes."""
    vocab = load(stories260k_dir).vocab
    assert isinstance(vocab, TransformersVocab)
    return vocab


@pytest.fixture(scope="module")
def characters(babyllama_dir) -> TransformersVocab:
    """One token a character, no fallback."""
    vocab = load(babyllama_dir).vocab
    assert isinstance(vocab, TransformersVocab)
    return vocab


@pytest.fixture(scope="module")
def byte_level(data_dir) -> TransformersVocab:
    """GPT-2's byte-level BPE: adds nothing to a text, BOS and EOS are the same token."""
    folder = data_dir / "tokenizers" / "gpt2"
    tokenizer = GPT2Tokenizer(vocab=str(folder / "encoder.json"), merges=str(folder / "vocab.bpe"))
    return TransformersVocab(tokenizer, 50257, (50256,), 50256)


def words(*, template: str | None = None, frame: bool = False) -> TransformersVocab:
    """Ten words, <s> and </s>; with `frame` the tokenizer puts both around every text."""
    ids = {**{f"w{i}": i for i in range(10)}, "<s>": 10, "</s>": 11}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if frame:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 10), ("</s>", 11)]
        )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = template
    return TransformersVocab(fast, 12, (11,), 10)


class TestPrompts:
    def test_bos_comes_first_where_the_model_expects_it(self, pieces, byte_level):
        assert pieces.encode("Once upon") == (1, 403, 407)
        assert byte_level.encode("Hello world") == (15496, 995)

    def test_an_empty_prompt_is_bos(self, pieces, byte_level):
        assert pieces.encode("") == (1,)
        assert byte_level.encode("") == (50256,)

    def test_an_empty_prompt_without_bos_is_empty(self, byte_level):
        assert TransformersVocab(byte_level.tokenizer, 50257, (50256,), None).encode("") == ()

    def test_eos_after_a_prompt_is_left_out(self):
        assert words(frame=True).encode("w3 w4") == (10, 3, 4)
        assert words(frame=True).encode("") == (10,)

    def test_a_tokenizer_larger_than_the_model_is_refused_where_it_matters(self):
        vocab = TransformersVocab(words().tokenizer, 8, (), None)
        assert vocab.encode("w7") == (7,)
        with pytest.raises(UnknownToken, match="token id 9 of the tokenizer is outside the model's vocabulary of 8"):
            vocab.encode("w9")

    @given(TEXT)
    def test_any_text_survives_encoding_and_decoding(self, pieces, byte_level, text):
        assert pieces.decode(pieces.encode(text)) == text
        assert byte_level.decode(byte_level.encode(text)) == text

    def test_what_no_token_stands_for_is_the_models_own_unk(self, characters):
        assert characters.encode("a\nb") == (1, 3, 5, 0, 23)
        assert characters.decode((1, 3, 5, 0, 23)) == "ab"


class TestCompletions:
    @pytest.mark.parametrize(
        ("prompt", "completion"),
        [("2 + 3 =", " 5"), ("Hi", " there"), ("Hi", "there"), ("", "Once"), ("a\n", "b"), ("é", "😀"), ("ti", "me")],
    )
    def test_the_text_comes_back_as_given(self, pieces, byte_level, prompt, completion):
        for vocab in (pieces, byte_level):
            tokens = vocab.encode_completion(vocab.encode(prompt), completion)
            assert vocab.decode_completion(vocab.encode(prompt), tokens) == completion
            assert vocab.decode(vocab.encode(prompt) + tokens) == prompt + completion

    def test_ids_are_those_of_the_whole_text_where_the_prompts_stay_as_they_are(self, pieces, byte_level):
        for vocab in (pieces, byte_level):
            prompt = vocab.encode("Once upon a time, there")
            whole = vocab.encode("Once upon a time, there was a dog")
            assert prompt + vocab.encode_completion(prompt, " was a dog") == whole

    def test_no_bos_and_no_space_of_the_tokenizers_own(self, pieces):
        assert 1 not in pieces.encode_completion((1, 403), "me")
        assert pieces.decode_completion((1, 403), pieces.encode_completion((1, 403), "me")) == "me"

    @given(TEXT, TEXT)
    def test_any_text_after_any_prompt(self, pieces, byte_level, prompt, completion):
        for vocab in (pieces, byte_level):
            before = vocab.encode(prompt)
            tokens = vocab.encode_completion(before, completion)
            assert vocab.decode_completion(before, tokens) == completion

    @given(TEXT, st.data())
    def test_a_text_cut_between_tokens_is_the_sum_of_its_parts(self, pieces, byte_level, text, data):
        for vocab in (pieces, byte_level):
            tokens = vocab.encode(text)
            cut = data.draw(st.integers(1, len(tokens)))
            before = vocab.decode(tokens[:cut])
            assume(REPLACEMENT not in before)
            assert before + vocab.decode_completion(tokens[:cut], tokens[cut:]) == text

    def test_a_leading_space_survives_after_a_long_prompt(self, pieces):
        prompt = pieces.encode("Once upon a time " * 50)
        assert pieces.decode_completion(prompt, pieces.encode_completion(prompt, " x")) == " x"

    def test_special_tokens_are_left_out(self, pieces):
        assert pieces.decode_completion((1,), (403, 407, 2)) == "Once upon"
        assert pieces.decode_completion((1, 403), (1, 2)) == ""


class TestUnfinishedCharacters:
    @pytest.mark.parametrize("name", ["pieces", "byte_level"])
    def test_text_so_far_only_ever_grows_but_for_the_unfinished_character(self, request, name):
        vocab = request.getfixturevalue(name)
        prompt, tokens = vocab.encode("The"), vocab.encode_completion(vocab.encode("The"), " é😀日本 ok 🦜🦜")
        shown = ""
        for count in range(1, len(tokens) + 1):
            now = vocab.decode_completion(prompt, tokens[:count])
            whole = now.rstrip(REPLACEMENT)
            assert whole.startswith(shown)
            assert REPLACEMENT not in whole
            shown = whole
        assert shown == " é😀日本 ok 🦜🦜"

    def test_complete_characters_before_an_unfinished_one_stay_readable(self, pieces):
        # Byte-fallback decoders alone give seven U+FFFD here.
        tokens = pieces.encode_completion((1,), "😀😀")
        assert pieces.decode_completion((1,), tokens[:-1]).endswith("😀" + REPLACEMENT)

    def test_bytes_that_are_no_character_are_replaced(self, pieces):
        assert REPLACEMENT in pieces.decode((1, 3 + 0xFF, 403))

    def test_a_prompt_that_ends_within_a_character_is_completed(self, pieces, byte_level):
        for vocab in (pieces, byte_level):
            tokens = vocab.encode("a 🦜")
            assert vocab.decode_completion(tokens[:-1], tokens[-1:]) == "🦜"

    @pytest.mark.parametrize("prompt", [f"Hello{REPLACEMENT}", REPLACEMENT, f"a {REPLACEMENT * 3}", f"{REPLACEMENT} b"])
    def test_a_replacement_character_of_the_prompt_is_the_prompts_own(self, pieces, byte_level, prompt):
        for vocab in (pieces, byte_level):
            before = vocab.encode(prompt)
            world, bird = (vocab.encode_completion(before, text) for text in (" world", "🦜"))
            assert vocab.decode_completion(before, world) == " world"
            assert vocab.decode_completion(before, vocab.encode_completion(before, REPLACEMENT)) == REPLACEMENT
            assert vocab.decode_completion((*before, *bird[-4:-1]), bird[-1:]) == "🦜"
            assert vocab.decode_completion(before, bird[-4:-1]) == REPLACEMENT

    def test_a_character_that_the_prompt_leaves_open_and_nothing_completes_is_the_prompts(self, byte_level):
        before = byte_level.encode("a 🦜")[:-1]
        assert byte_level.decode_completion(before, byte_level.encode(" b")) == " b"


class TestTokenText:
    def test_spaces_are_kept(self, pieces, byte_level):
        assert pieces.token_text(403) == " Once"
        assert byte_level.token_text(995) == " world"

    def test_special_tokens_go_by_name(self, pieces, byte_level):
        assert [pieces.token_text(t) for t in (0, 1, 2)] == ["<unk>", "<s>", "</s>"]
        assert byte_level.token_text(50256) == "<|endoftext|>"

    def test_parts_of_a_character_show_their_bytes(self, pieces, byte_level):
        assert pieces.token_text(3 + 0xF0) == "\\xf0"
        assert [byte_level.token_text(t) for t in byte_level.encode("🦜")] == ["\\xf0\\x9f", "\\xa6", "\\x9c"]

    def test_bytes_that_are_characters_show_as_such(self, pieces, byte_level):
        assert pieces.token_text(3 + 0x0A) == "\n"
        assert byte_level.token_text(198) == "\n"

    def test_every_token_has_a_text(self, pieces):
        assert all(isinstance(pieces.token_text(t), str) for t in range(pieces.size))


class TestChats:
    def test_the_template_is_applied_ready_for_the_assistant(self):
        text, tokens = words(template=TEMPLATE).render_chat(Chat.of("w3 w4", system="w1"))
        assert text == "[system] w1 [user] w3 w4 [assistant]"
        assert tokens == words().encode(text)

    def test_tools_are_shown_to_the_template(self):
        tool = {"type": "function", "function": {"name": "w7", "description": "", "parameters": {}}}
        assert words(template=TEMPLATE).render_chat(Chat.of("w3", tools=[tool]))[0] == "[user] w3 [tool] w7 [assistant]"

    def test_special_tokens_come_from_the_template_alone(self):
        vocab = words(template="<s> {{ messages[0].content }} </s>", frame=True)
        assert vocab.render_chat(Chat.of("w3"))[1] == (10, 3, 11)

    def test_a_model_without_template_is_refused_with_the_fix(self):
        with pytest.raises(RequestError, match="no chat template; give the prompt as text"):
            words().render_chat(Chat.of("w3"))

    @pytest.mark.parametrize(
        "template",
        [
            "{{ raise_exception('only one user message,\nplease') }}",
            "{{ messages[9].content }}",
            "{% if %}",
            "{{ messages.append(1) }}",
            "{{ ''.__class__.__mro__ }}",
            "{{ 1 / 0 }}",
            "{{ 'a' * 10**15 }}",
            "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
            "{% for i in range(10**12) %}{% endfor %}",
            "{{ ''.join(messages) }}",
            "{{ messages[7].content }}{{ no_such.field }}",
            "{{ raise_exception('x' * 100000) }}",
        ],
    )
    def test_a_template_that_fails_is_one_clear_line(self, template):
        with pytest.raises(RequestError, match="the model's chat template refuses these messages") as caught:
            words(template=template).render_chat(Chat.of("w3"))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["\ud800", "a\udcffb", "\udfff" * 1000])
def test_text_with_a_lone_surrogate_is_refused_wherever_it_stands(text):
    vocab = words(template=TEMPLATE)
    encoders = [
        lambda: vocab.encode(text),
        lambda: vocab.encode_completion((1, 2), text),
        lambda: vocab.render_chat(Chat.of(text)),
        lambda: vocab.render_chat(Chat.of("w3", system=text)),
    ]
    for encode in encoders:
        with pytest.raises(UnknownToken, match="has a lone surrogate") as caught:
            encode()
        assert str(caught.value).isascii()
        assert len(str(caught.value)) < 400


def test_text_that_a_tokenizer_without_an_unknown_token_cannot_encode_is_refused():
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordPiece({"a": 0}, unk_token="[UNK]")))
    with pytest.raises(UnknownToken, match=r"cannot be encoded by the model's tokenizer \(.*Missing \[UNK\]"):
        TransformersVocab(bare, 1, (), None).encode("b")


def test_a_byte_level_vocabulary_whose_ids_exceed_its_tokens_decodes_them_to_nothing():
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    tokenizer.decoder = decoders.ByteLevel()
    vocab = TransformersVocab(PreTrainedTokenizerFast(tokenizer_object=tokenizer), 8, (), None)
    assert vocab.decode([0, 5, 1, 7]) == "ab"
    assert vocab.decode_completion([0, 6], [7, 1]) == "b"
    assert vocab.token_text(6) == ""
