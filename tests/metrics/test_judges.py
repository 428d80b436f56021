"""Classifiers and embedders from a directory: right whatever the batch, refused when they are something else."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
)

from decodelab.core.errors import InvalidData, ModelFormatError, ModelNotFound
from decodelab.metrics.classifier import Classifier
from decodelab.metrics.diversity import pairwise_distance
from decodelab.metrics.embedding import Embedder
from decodelab.metrics.equivalence import Entailment
from decodelab.metrics.fluency import acceptability
from decodelab.metrics.uncertainty import meanings

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "on", "mat", "dog", "ran"]
TEXTS = ["the cat", "the cat sat on the mat", "dog", "the dog ran on the mat the dog ran"]


def save_encoder(folder: Path, kind, **config) -> Path:
    """A tiny BERT with random weights, as any encoder directory."""
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))  # pyright: ignore[reportAttributeAccessIssue]
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(
            BertConfig(
                vocab_size=len(WORDS),
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=24,
                max_position_embeddings=12,
                initializer_range=0.5,
                **config,
            )
        )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def cola(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(
        tmp_path_factory.mktemp("cola"),
        BertForSequenceClassification,
        id2label={0: "unacceptable", 1: "acceptable"},
        label2id={"unacceptable": 0, "acceptable": 1},
    )


@pytest.fixture(scope="module")
def nli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    labels = {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"}
    return save_encoder(
        tmp_path_factory.mktemp("nli"),
        BertForSequenceClassification,
        id2label=labels,
        label2id={v: k for k, v in labels.items()},
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder"), BertModel)


def test_probabilities_do_not_depend_on_the_batch(cola: Path):
    judge = Classifier(str(cola))
    together = judge.probabilities(TEXTS)
    alone = np.concatenate([judge.probabilities([t]) for t in TEXTS])
    assert together == pytest.approx(alone, abs=1e-5)
    assert together.sum(axis=1) == pytest.approx(1)
    judge.batch = 3
    assert judge.probabilities(TEXTS) == pytest.approx(together, abs=1e-5)


def test_fluency_is_the_probability_of_acceptable_and_0_for_nothing(cola: Path):
    judge = Classifier(str(cola))
    found = acceptability(judge, [TEXTS[0], "  ", TEXTS[1]])
    assert found[1] == 0
    assert found[[0, 2]] == pytest.approx(judge.probabilities(TEXTS[:2])[:, 1], abs=1e-5)
    assert acceptability(judge, TEXTS[:1], label="unacceptable")[0] == pytest.approx(1 - found[0], abs=1e-5)


def test_a_judge_without_such_a_label_is_refused_by_name(nli: Path):
    with pytest.raises(InvalidData, match="CONTRADICTION, NEUTRAL, ENTAILMENT; name the one"):
        acceptability(Classifier(str(nli)), TEXTS)


def test_texts_longer_than_the_judge_are_cut(cola: Path):
    assert Classifier(str(cola)).probabilities(["the cat " * 50]).shape == (1, 2)


def test_entailment_both_ways_groups_meanings(nli: Path):
    judge = Classifier(str(nli))
    same = Entailment(judge)
    expected = all(judge.probabilities([p])[0].argmax() == 2 for p in (("the cat", "dog"), ("dog", "the cat")))
    assert same("the cat", "dog") is expected
    assert meanings(["dog", "dog"], same).tolist() == [0, 0]


def test_an_entailment_judge_needs_its_label(cola: Path):
    with pytest.raises(InvalidData, match="one must contain entailment"):
        Entailment(Classifier(str(cola)))


def test_embeddings_are_means_over_tokens_whatever_the_padding(encoder: Path):
    embed = Embedder(str(encoder))
    together = embed(TEXTS)
    assert together == pytest.approx(np.concatenate([embed([t]) for t in TEXTS]), abs=1e-5)
    ids = torch.tensor([[2, 4, 5, 3]])
    hidden = BertModel.from_pretrained(encoder).eval()(ids).last_hidden_state
    assert together[0] == pytest.approx(hidden.mean(1)[0].detach().numpy(), abs=1e-5)
    assert 0 <= pairwise_distance(together) <= 2


def test_pooling_follows_the_directory(encoder: Path, tmp_path: Path):
    for file in encoder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    hidden = BertModel.from_pretrained(encoder).eval()(torch.tensor([[2, 4, 5, 3]])).last_hidden_state
    assert Embedder(str(tmp_path))(["the cat"])[0] == pytest.approx(hidden[0, 0].detach().numpy(), abs=1e-5)


def test_an_invalid_judge_is_refused_in_one_line(encoder: Path, tmp_path: Path):
    # An encoder has no classification head; transformers would make one up.
    with pytest.raises(ModelFormatError, match="has no weights for classifier"):
        Classifier(str(encoder))
    with pytest.raises(ModelFormatError, match="cannot be loaded"):
        Classifier(str(tmp_path))
    with pytest.raises(ModelNotFound, match="there is no directory"):
        Embedder("./nowhere")
    with pytest.raises(ModelNotFound) as caught:
        Embedder("nobody/nothing")
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_not_loaded(encoder: Path, tmp_path: Path):
    for file in encoder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelFormatError, match="cannot be loaded"):
        Embedder(str(tmp_path))


def test_an_empty_text_has_no_embedding(encoder: Path):
    with pytest.raises(InvalidData, match="leave empty texts out"):
        Embedder(str(encoder))(["the cat", " "])
