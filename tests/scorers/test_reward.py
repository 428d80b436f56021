"""Reward models as scorers: the numbers that transformers gives, whatever is shared, and a line for what cannot be."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

import decodelab as dl
from decodelab.core.errors import (
    DecodelabError,
    InvalidParameter,
    ModelError,
    ModelFormatError,
    ModelNotFound,
    PromptTooLong,
    ScorerFailed,
    StrategyError,
)
from decodelab.core.protocols import Rated, RewardReading
from decodelab.core.values import Partial
from decodelab.models.loading import load_reward
from decodelab.models.rater import Logits
from decodelab.scorers.judging import judged
from decodelab.scorers.reward import Reward, steps

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "on", "mat", "dog", "ran", "."]
PROMPT = "the cat"
TEXTS = [" sat", " sat on the mat .", " sat on the mat . the dog", " ran", " sat on [SEP] mat", " sat"]
SIZES: dict[str, Any] = {"vocab_size": len(WORDS), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
LLAMA = LlamaConfig(
    **SIZES,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=32,
)
GPT2 = GPT2Config(**SIZES, n_embd=16, n_layer=2, n_head=2, n_positions=32)
BERT = BertConfig(
    vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
    max_position_embeddings=32,
)  # fmt: skip


def save(folder: Path, config: Any, *labels: str, kind: Any = AutoModelForSequenceClassification, **more: Any) -> str:
    """A tiny classifier with lively random weights, as `save_pretrained` writes it."""
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    frame = ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1") if config is BERT else ("[CLS] $A", "[CLS] $A $B")
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single=frame[0], pair=frame[1], special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", **more
    ).save_pretrained(folder)
    config = type(config)(**config.to_dict() | {"id2label": dict(enumerate(labels)), "architectures": None})
    network = kind.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3 + (parameter.dim() == 1))
    network.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("llama"), LLAMA, "bad", "good")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("bert"), BERT, "awful", "fair", "fine")


def as_transformers(folder: str, pairs: bool = False, kind: Any = AutoModelForSequenceClassification) -> torch.Tensor:
    """The logits of each text alone, float64 [texts, labels]; names of special tokens in it are text."""
    network, tokenizer = kind.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    found = []
    for text in TEXTS:
        text = text.replace("[SEP]", "[ SEP ]")  # what its pieces are
        given = tokenizer(PROMPT, text, return_tensors="pt") if pairs else tokenizer(PROMPT + text, return_tensors="pt")
        if not hasattr(network.config, "type_vocab_size"):
            given.pop("token_type_ids", None)
        with torch.inference_mode():
            logits = network(**given).logits[0]
        found.append(logits if logits.dim() == 1 else logits[-1])
    return torch.stack(found).double()


def rated(folder: str, **reading: Any) -> list[float]:
    return load_reward(folder).rate(PROMPT, TEXTS, RewardReading(**reading)).values


def test_a_causal_classifier_rates_as_transformers_does_with_and_without_that_library(llama, monkeypatch):
    expected = as_transformers(llama).softmax(1)[:, 1].tolist()
    assert rated(llama) == pytest.approx(expected, abs=1e-5)
    monkeypatch.setattr("decodelab.models.llama_rater.llama_rater", lambda *_: None)
    assert rated(llama) == pytest.approx(expected, abs=1e-5)


def test_other_architectures_rate_as_transformers_does(bert, tmp_path):
    logits = as_transformers(bert)
    assert rated(bert, label="fine") == pytest.approx(logits.softmax(1)[:, 2].tolist(), abs=1e-5)
    odds = (logits[:, 0] - logits[:, 1:].logsumexp(1)).tolist()
    assert rated(bert, label="awful", value="log_odds") == pytest.approx(odds, abs=1e-5)
    pairs = as_transformers(bert, pairs=True).softmax(1)[:, 1].tolist()
    assert rated(bert, label="fair", input="pair") == pytest.approx(pairs, abs=1e-5)
    gpt2 = save(tmp_path, GPT2, "value")
    assert rated(gpt2) == pytest.approx(as_transformers(gpt2)[:, 0].tolist(), abs=1e-5)


def test_a_token_classifier_is_read_at_the_last_token(tmp_path):
    kind = AutoModelForTokenClassification
    folder = save(tmp_path / "llama", LLAMA, "wrong", "right", kind=kind)
    assert rated(folder) == pytest.approx(as_transformers(folder, kind=kind).softmax(1)[:, 1].tolist(), abs=1e-5)
    with pytest.raises(ModelError, match="is a token classifier that is not causal"):
        load_reward(save(tmp_path / "bert", BERT, "wrong", "right", kind=kind))


def test_what_all_texts_begin_with_is_computed_once_and_a_beginning_on_the_way(llama):
    spent = load_reward(llama).rate(PROMPT, [" sat", " sat on", " sat on the"], RewardReading())
    assert (spent.tokens, spent.passes) == (4 + 2, 2)


def test_steps_are_beginnings_of_a_text():
    text = "\n1+1=2, so.\n\nHe said 1.5. Then:\n2"
    assert steps(text, "line") == ["\n1+1=2, so.\n\n", "\n1+1=2, so.\n\nHe said 1.5. Then:\n", text]
    assert steps(text, "step") == ["\n1+1=2, so.\n\n", text]
    assert steps(text, "sentence")[1:-1] == ["\n1+1=2, so.\n\nHe said 1.5. ", "\n1+1=2, so.\n\nHe said 1.5. Then:\n"]
    assert steps("", "line") == [""]
    assert steps("a\n", "line") == ["a\n"]


@pytest.mark.parametrize(
    ("how", "combined"), [("last", 0.75), ("min", 0.25), ("mean", 0.5), ("prod", 0.5 * 0.25 * 0.75)]
)
def test_steps_are_combined(how, combined):
    class Fixed:
        name = "fixed"

        def reward_model(self, name):
            return self

        def rate(self, prompt, texts, reading):
            values = {"a\n": 0.5, "a\nb\n": 0.25, "a\nb\nc": 0.75}
            return Rated([values[text] for text in texts], 0, 0)

    partial = Partial("", (), (), "a\nb\nc")
    assert Reward("x", steps=how).score(Fixed(), [partial]) == pytest.approx([combined])  # pyright: ignore[reportArgumentType]


# --- in strategies --------------------------------------------------------------------------------


def test_selections_and_searches_go_by_it_and_count_what_it_computes(llama):
    scorer = f"reward(model={json.dumps(llama)})"
    plain = dl.generate("pocket-nano", "The cat", "sample(n=4)", max_new_tokens=6)[0]
    found = dl.generate("pocket-nano", "The cat", f"sample(n=4) | best_of(by={scorer})", max_new_tokens=6)[0]
    rated = load_reward(llama).rate("The cat", [c.text for c in plain.candidates], RewardReading())
    assert found.best.score == pytest.approx(max(rated.values))
    assert found.cost.forward_tokens == plain.cost.forward_tokens + rated.tokens
    for search in (f"value_beam(width=2, scorer={scorer})", f"smc(particles=2, scorer={scorer})"):
        assert dl.generate("pocket-nano", "The cat", search, max_new_tokens=4)[0].cost.forward_passes > 4


def test_a_reward_reads_back_from_every_form_and_is_loaded_once(llama, monkeypatch):
    text = "sample(n=2) | weighted_vote(by=reward(model=pocket-verifier, steps=prod, chunk=sentence))"
    strategy = dl.Strategy.of(text)
    assert str(strategy) == text
    assert dl.Strategy.of(strategy.to_json()) == strategy == dl.Strategy.from_yaml(strategy.to_yaml())
    loaded = []
    monkeypatch.setattr(
        "decodelab.engine.composing.load_reward", lambda name, device: loaded.append(name) or load_reward(name)
    )
    by = dl.BestOf(by=Reward(llama))
    dl.generate("pocket-nano", ["The cat", "The dog"], dl.Sample(2) | by, max_new_tokens=3)
    assert loaded == [llama]


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        ("reward", "reward needs model (a verifier that ships, a directory, or a hub id); write reward(model=...)"),
        ("reward(model=5)", "reward: model must be a name, got 5"),
        ("reward(model=x, steps=first)", "reward: steps must be one of last, min, prod, mean, got first"),
        ("reward(model=x, step=min)", "reward has no parameter 'step'; did you mean 'steps'?"),
        ("reward(model=x, steps=prod, value=log_odds)", "steps=prod multiplies probabilities, got value=log_odds"),
        ("rewrd(model=x)", "got rewrd; did you mean 'reward'?"),
    ],
)
def test_a_reward_that_means_nothing_is_refused_when_it_is_written(scorer, message):
    for stage in (f"best_of(by={scorer})", f"value_beam(width=2, scorer={scorer})"):
        with pytest.raises(StrategyError) as error:
            dl.parse(stage)
        assert message in str(error.value)


def refused(kind: type[DecodelabError], model: str, **reading: Any) -> str:
    """What the engine says when a strategy with this reward is submitted."""
    with pytest.raises(kind) as error:
        dl.generate("pocket-nano", "The cat", dl.Sample(2) | dl.BestOf(by=Reward(model, **reading)), max_new_tokens=2)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_labels_and_inputs_that_are_not_there_are_refused_before_anything_is_decoded(llama, bert):
    assert "has the labels bad, good, got label=god; did you mean 'good'?" in refused(
        InvalidParameter, llama, label="god"
    )
    assert "has 3 labels (awful, fair, fine); say which means good" in refused(InvalidParameter, bert)
    assert "has no chat template, got input=chat" in refused(DecodelabError, llama, input="chat")


def test_directories_that_do_not_rate_texts_are_refused_in_a_line(llama, tmp_path):
    assert "writes texts and rates none" in refused(ModelError, "pocket-nano")
    assert "no directory 'nowhere'" in refused(ModelNotFound, "nowhere")
    nano = tmp_path / "nano"
    shutil.copytree(dl.load("pocket-nano").directory, nano)  # pyright: ignore[reportAttributeAccessIssue]
    assert "was saved as 'LlamaForCausalLM', which does not rate texts" in refused(ModelError, str(nano))
    config = json.loads((nano / "config.json").read_text()) | {"architectures": ["LlamaForSequenceClassification"]}
    (nano / "config.json").write_text(json.dumps(config))
    assert "lack 1 tensors, the first is score.weight" in refused(ModelFormatError, str(nano))
    wide = tmp_path / "wide"
    shutil.copytree(llama, wide)
    config = json.loads((wide / "config.json").read_text()) | {"id2label": {"0": "a", "1": "b", "2": "c"}}
    (wide / "config.json").write_text(json.dumps(config))
    assert "the head has 2 outputs" in refused(ModelFormatError, str(wide))
    (wide / "model.safetensors").rename(wide / "pytorch_model.bin")
    assert "a pickle that can run code" in refused(ModelFormatError, str(wide))


def test_a_text_longer_than_its_context_is_named(llama):
    with pytest.raises(PromptTooLong, match=r'text "? the.* have 42 tokens, .* holds 32'):
        load_reward(llama).rate(PROMPT, [" the" * 39], RewardReading())


def test_nan_of_a_broken_network_is_named_with_its_text(llama):
    network = load_reward(llama)
    network._rater = lambda *given: Logits(torch.full((1, 2), torch.nan), 1, 1)  # pyright: ignore[reportAttributeAccessIssue]

    class Model:
        def reward_model(self, name):
            return network

    with pytest.raises(
        ScorerFailed, match=r"scorer reward\(model=x\) must give a finite number, got nan for the text .a cat"
    ):
        judged(Reward("x"), [Partial("", (), (1,), "a cat")], Model())  # pyright: ignore[reportArgumentType]
