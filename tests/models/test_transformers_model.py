"""A transformers model behind the `LanguageModel` protocol: what it says of itself, what it refuses, real weights."""

import copy

import pytest
import torch
from transformers import GenerationConfig

from decodelab import generate
from decodelab.core.errors import EmptyPrompt, PromptTooLong, UnknownToken
from decodelab.core.notices import ModelNotice
from decodelab.core.quiet import quiet
from decodelab.models import TransformersModel, load, load_transformers
from decodelab.testing.model import check_model

KNOWN_STORY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball."
)


@pytest.fixture(scope="module")
def model(build) -> TransformersModel:
    return build("llama")


def greedy(model, prompt, count):
    logits, cache = model.prefill([prompt])
    tokens = []
    for _ in range(count):
        tokens.append(int(logits[0].argmax()))
        logits, cache = model.decode(cache, torch.tensor([tokens[-1:]]))
        logits = logits[:, -1]
    return tokens


class TestRealWeights:
    def test_stories260k_tells_the_story_it_is_known_for(self, stories260k_dir):
        model = load(stories260k_dir)
        prompt = model.vocab.encode("")
        assert prompt == (1,)
        assert model.vocab.decode_completion(prompt, greedy(model, prompt, 60)).startswith(KNOWN_STORY)

    def test_stories260k_keeps_all_promises(self, stories260k_dir):
        prompts = ["", "Once upon a time", "Tom é😀 and 日本 ran\nhome.", "Lily had a red ball and a blue"]
        check_model(load(stories260k_dir), prompts)

    def test_babyllama_keeps_all_promises(self, babyllama_dir):
        check_model(load(babyllama_dir), ["", "Once upon a time", "Tom and Sue went to the park."])

    def test_in_bfloat16_it_keeps_them_to_two_digits(self, stories260k_dir):
        check_model(load(stories260k_dir, dtype="bfloat16"), ["", "Once upon a time", "The"], tolerance=0.3)

    @pytest.mark.parametrize("count", [1, 8])
    def test_greedy_is_that_of_transformers_token_for_token(self, stories260k_dir, count):
        model = load_transformers(stories260k_dir)
        prompts = [(1, 403, 407, 10 + i) for i in range(count)]
        model.model.generation_config.eos_token_id = None
        ids = torch.tensor(prompts)
        theirs = model.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=60, do_sample=False, pad_token_id=0
        )
        logits, cache = model.prefill(prompts)
        mine = []
        for _ in range(60):
            mine.append(logits.argmax(-1))
            logits, cache = model.decode(cache, mine[-1][:, None])
            logits = logits[:, -1]
        assert torch.equal(torch.stack(mine, 1), theirs[:, 4:])


class TestWhatItSaysOfItself:
    def test_stories260k(self, stories260k_dir):
        model = load(stories260k_dir)
        assert model.name == str(stories260k_dir)
        assert model.context_length == 512
        assert model.vocab.size == 512
        assert model.vocab.bos_id == 1
        assert model.vocab.eos_ids == (1, 2)
        assert model.generation_config == {"do_sample": False}

    def test_eos_ids_are_those_of_the_generation_config_as_in_transformers(self, build_network, word_tokenizer):
        network = build_network("llama")
        network.generation_config = GenerationConfig(eos_token_id=[5, 7, 5])
        assert TransformersModel(network, word_tokenizer).vocab.eos_ids == (5, 7)

    def test_eos_ids_are_those_of_the_config_or_the_tokenizer_where_the_generation_config_names_none(
        self, build_network, word_tokenizer
    ):
        network = build_network("llama")
        network.generation_config = GenerationConfig(eos_token_id=None)
        network.config.eos_token_id = 9
        assert TransformersModel(network, word_tokenizer).vocab.eos_ids == (9,)
        network.config.eos_token_id = None
        assert TransformersModel(network, word_tokenizer).vocab.eos_ids == (63,)

    @pytest.mark.parametrize("outside", [64, 10**6, -1, -64, True, "</s>", 2.0])
    def test_eos_ids_that_are_no_tokens_are_left_out_with_a_note(self, build_network, word_tokenizer, outside):
        network = build_network("llama")
        network.generation_config = GenerationConfig(eos_token_id=[5, outside])
        with pytest.warns(ModelNotice, match="eos_token_id of its generation config is .*outside the vocabulary of 64"):
            model = TransformersModel(network, word_tokenizer)
        assert model.vocab.eos_ids == (5,)
        assert generate(model, "w1 w2", "greedy", max_new_tokens=2)

    def test_a_bos_id_that_is_no_token_is_left_out_with_a_note(self, build_network, word_tokenizer):
        network, tokenizer = build_network("llama"), copy.deepcopy(word_tokenizer)
        tokenizer.bos_token = None
        network.generation_config = GenerationConfig(bos_token_id=64, eos_token_id=63)
        with pytest.warns(ModelNotice, match="bos_token_id of its generation config is 64, outside"):
            assert TransformersModel(network, tokenizer).vocab.bos_id is None

    def test_its_own_generation_settings_without_token_ids(self, build_network, word_tokenizer):
        network = build_network("llama")
        network.generation_config = GenerationConfig(do_sample=True, temperature=0.7, top_p=0.9, eos_token_id=3)
        model = TransformersModel(network, word_tokenizer)
        assert model.generation_config == {"do_sample": True, "temperature": 0.7, "top_p": 0.9}
        model.generation_config["top_p"] = 0.1
        assert model.generation_config["top_p"] == 0.9

    @pytest.mark.parametrize("length", [{"max_length": 12}, {"max_new_tokens": 5}])
    @pytest.mark.parametrize("forced", [7, [7, 9]])
    def test_a_forced_end_is_followed_as_in_transformers(self, build_network, word_tokenizer, length, forced):
        network = build_network("llama")
        network.generation_config = GenerationConfig(
            forced_eos_token_id=forced, eos_token_id=63, pad_token_id=0, do_sample=False, **length
        )
        model = TransformersModel(network, word_tokenizer)
        for prompt in ("w1 w2", "w8 w3 w4 w5"):
            found = generate(model, prompt, "default", max_new_tokens=20, stop_token_ids=(7, 9))[0]
            ids = torch.tensor([found.prompt_tokens])
            with quiet():
                theirs = network.generate(ids, attention_mask=torch.ones_like(ids))[0, ids.shape[1] :].tolist()
            assert list(found.best.tokens) == theirs
            assert theirs[-1] == 7

    def test_an_end_among_the_bad_words_is_let_be_as_in_transformers(self, build_network, word_tokenizer):
        network = build_network("llama")
        network.generation_config = GenerationConfig(bad_words_ids=[[63], [5], [8, 9]], eos_token_id=63)
        assert TransformersModel(network, word_tokenizer).generation_config["bad_words_ids"] == [[5], [8, 9]]
        network.generation_config = GenerationConfig(bad_words_ids=[[63]], eos_token_id=63)
        assert not TransformersModel(network, word_tokenizer).generation_config["bad_words_ids"]

    def test_a_forced_end_without_a_place_is_noted(self, build_network, word_tokenizer, tmp_path):
        network = build_network("llama")
        network.generation_config = GenerationConfig(forced_eos_token_id=7, eos_token_id=63)
        with quiet():
            network.save_pretrained(tmp_path)
            word_tokenizer.save_pretrained(tmp_path)
        with pytest.warns(ModelNotice, match=r"forced_eos_token_id 7 .* has no effect.*forced_eos\(at=N\)"):
            model = load(tmp_path)
        assert "forced_eos_token_id" not in model.generation_config

    def test_a_tokenizers_own_end_that_is_none_of_the_models_is_noted(self, build_network, word_tokenizer, tmp_path):
        network = build_network("llama")
        network.generation_config = GenerationConfig(eos_token_id=7)
        with quiet():
            network.save_pretrained(tmp_path)
            word_tokenizer.save_pretrained(tmp_path)
        with pytest.warns(ModelNotice, match=r"texts end at 'w7' \(7\).* not at the tokenizer's own end '</s>' \(63\)"):
            model = load(tmp_path)
        assert model.vocab.eos_ids == (7,)

    @pytest.mark.parametrize(
        ("model_type", "sizes", "context"),
        [
            ("llama", {}, 128),
            ("gpt2", {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 96, "max_position_embeddings": 96}, 96),
            ("mpt", {"d_model": 32, "n_heads": 4, "n_layers": 3, "max_seq_len": 77, "max_position_embeddings": 77}, 77),
            ("bloom", {"n_layer": 3, "n_head": 4, "max_position_embeddings": None}, None),
        ],
    )
    def test_context(self, build, model_type, sizes, context):
        assert build(model_type, **sizes).context_length == context

    def test_the_digest_tells_weights_configuration_and_vocabulary_apart(self, build_network, word_tokenizer):
        def digest(network, tokenizer=word_tokenizer):
            return TransformersModel(network, tokenizer).digest

        same, other = digest(build_network("llama")), build_network("llama")
        assert len(same) == 64
        assert digest(build_network("llama")) == same
        with torch.no_grad():
            other.lm_head.weight[0, 0] += 1
        assert digest(other) != same
        assert digest(build_network("llama", rms_norm_eps=1e-3)) != same
        longer = copy.deepcopy(word_tokenizer)
        longer.add_tokens(["more"])
        assert digest(build_network("llama"), longer) != same

    def test_the_digest_of_a_directory_is_that_of_its_files(self, stories260k_dir, babyllama_dir, tmp_path):
        import shutil

        there = load(stories260k_dir).digest
        here = shutil.copytree(stories260k_dir, tmp_path / "copy", copy_function=shutil.copyfile)
        assert load(here).digest == there
        assert load(babyllama_dir).digest != there


class TestPrompts:
    def test_what_fills_the_padding_does_not_matter(self, build_network, word_tokenizer):
        """Not even when the filler's embedding is huge."""
        sizes = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128}
        network = build_network("gpt2", **sizes, tie_word_embeddings=False)
        with torch.no_grad():
            network.transformer.wte.weight[0] = 1e4
        model = TransformersModel(network, word_tokenizer)
        logits, _ = model.prefill([(3, 4, 5, 6, 7), (8,)])
        torch.testing.assert_close(logits[1:], model.prefill([(8,)])[0], atol=1e-4, rtol=1e-4)

    def test_logits_may_be_wider_than_the_tokenizer(self, build_network, word_tokenizer):
        model = TransformersModel(build_network("llama", vocab_size=80), word_tokenizer)
        assert model.vocab.size == 80
        logits, _ = model.prefill([(70, 79)])
        assert logits.shape == (1, 80)
        assert model.vocab.decode([3, 70, 79]) == "w3"
        assert model.vocab.token_text(79) == ""

    def test_an_empty_prompt_is_refused(self, model):
        with pytest.raises(EmptyPrompt, match="at least one token"):
            model.prefill([(1,), ()])

    def test_no_prompts_at_all_are_a_programming_error(self, model):
        with pytest.raises(ValueError, match="no prompts"):
            model.prefill([])

    @pytest.mark.parametrize("token", [64, 10**9, -1])
    def test_a_token_outside_the_vocabulary_is_refused(self, model, token):
        with pytest.raises(UnknownToken, match=r"token ids must be in \[0, 64\)"):
            model.prefill([(1, token)])
        _, cache = model.prefill([(1,)])
        with pytest.raises(UnknownToken, match=r"token ids must be in \[0, 64\)"):
            model.decode(cache, torch.tensor([[token]]))

    def test_filler_stands_after_the_tokens_of_a_row_and_fits_the_context(self, model):
        _, cache = model.prefill([(1,)])
        with pytest.raises(ValueError, match="padding must come after all tokens of a row"):
            model.decode(cache, torch.tensor([[1, -1, 2]]))
        _, cache = model.prefill([(1,) * 126, (1,)])
        with pytest.raises(PromptTooLong, match="129 tokens exceed the context length 128"):
            model.decode(cache, torch.tensor([[1, -1, -1], [2, 3, 4]]))

    def test_a_prompt_may_fill_the_context_but_not_exceed_it(self, model):
        _, cache = model.prefill([(1,) * 128])
        with pytest.raises(PromptTooLong, match="context length 128"):
            model.decode(cache, torch.tensor([[1]]))
        with pytest.raises(PromptTooLong, match="129 tokens, the context 128"):
            model.prefill([(1,) * 129])

    def test_padding_does_not_count_against_the_context(self, model):
        _, cache = model.prefill([(1,) * 120, (2,)])
        cache = cache.select(torch.tensor([1]))
        for _ in range(10):
            _, cache = model.decode(cache, torch.tensor([[3]]))
        assert list(cache.lengths) == [11]


def test_nothing_global_changes(model):
    state, grad = torch.random.get_rng_state(), torch.is_grad_enabled()
    model.prefill([(1, 2)])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.is_grad_enabled() == grad
