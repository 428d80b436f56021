"""Training and validation loss of a model on a text, against the loop of the book it comes from."""

import math

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import decodelab as dl
from decodelab.analysis.text_loss import split_loss
from decodelab.core.errors import InvalidParameter, RequestError
from decodelab.metrics import perplexity


@pytest.fixture(scope="module")
def verdict(data_dir) -> str:
    return (data_dir / "text" / "the-verdict.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def gpt2(data_dir) -> dl.TransformersModel:
    """A tiny network with random weights behind GPT-2's own tokenizer."""
    folder = data_dir / "tokenizers" / "gpt2"
    bpe = ByteLevelBPETokenizer(str(folder / "encoder.json"), str(folder / "vocab.bpe"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|endoftext|>")
    network = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, n_positions=256, vocab_size=50257))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return dl.TransformersModel(network, tokenizer)


def loss_of_the_book(model, text, length):
    """Mean loss over the chunks of the book's data loader, one at a time."""
    tokens = model.vocab.encode(text)
    losses = []
    for i in range(0, len(tokens) - length, length):
        inputs, targets = torch.tensor(tokens[i : i + length]), torch.tensor(tokens[i + 1 : i + length + 1])
        with torch.no_grad():
            logits = model.model(input_ids=inputs[None], use_cache=False).logits[0]
        losses.append(float(torch.nn.functional.cross_entropy(logits, targets)))
    return sum(losses) / len(losses)


def test_the_verdict_in_chunks_of_256_is_4608_training_and_512_validation_tokens(gpt2, verdict):
    # The counts are published: Raschka 2024, section 5.1.3, which prints them for these settings.
    found = split_loss(gpt2, verdict, ratio=0.9, context_length=256)
    assert (found.train.scored, found.validation.scored) == (4608, 512)
    assert found.train.tokens + found.validation.tokens in (5145, 5146)
    cut = int(0.9 * len(verdict))
    assert found.train.loss == pytest.approx(loss_of_the_book(gpt2, verdict[:cut], 256), abs=1e-5)
    assert found.validation.loss == pytest.approx(loss_of_the_book(gpt2, verdict[cut:], 256), abs=1e-5)


@pytest.mark.parametrize("max_rows", [1, 64])
def test_a_real_model_has_the_loss_of_the_book_whatever_the_batch(stories, stories260k_dir, verdict, max_rows):
    theirs = dl.load_transformers(stories260k_dir)
    text = verdict[:3000]
    found = split_loss(stories, text, ratio=0.7, context_length=100, max_rows=max_rows)
    assert found.train.loss == pytest.approx(loss_of_the_book(theirs, text[:2100], 100), abs=1e-5)
    assert found.validation.loss == pytest.approx(loss_of_the_book(theirs, text[2100:], 100), abs=1e-5)
    assert found.train.perplexity == pytest.approx(math.exp(found.train.loss))
    assert found.train.characters + found.validation.characters == 3000


def test_the_whole_context_is_the_default(stories, verdict):
    assert split_loss(stories, verdict[:4000], ratio=0.5).context_length == 512


def test_a_chunk_takes_one_token_more_than_the_context_length():
    coin = dl.TableModel(["H", "T"], {...: {"H": 0.25, "T": 0.75}})
    found = split_loss(coin, "T T T H T H", ratio=0.5, context_length=2)
    assert (found.train.tokens, found.train.scored) == (3, 2)
    assert found.validation.perplexity == pytest.approx(perplexity([math.log(0.75), math.log(0.25)]))
    with pytest.raises(RequestError, match="train part of the text has 3 tokens, but a chunk needs 4"):
        split_loss(coin, "T T T H T H", ratio=0.5, context_length=3)


@pytest.mark.parametrize("ratio", [0, 1, -0.5, math.nan])
def test_a_ratio_that_leaves_a_part_empty_is_refused(ratio):
    coin = dl.TableModel(["H", "T"], {...: {"H": 0.25, "T": 0.75}})
    with pytest.raises(InvalidParameter, match=r"ratio must be in \(0, 1\)"):
        split_loss(coin, "T T T H T H", ratio=ratio, context_length=1)


def test_a_context_length_has_to_be_said_where_there_is_no_bound_and_to_fit_where_there_is():
    distribution = {...: {"H": 0.25, "T": 0.75}}
    with pytest.raises(InvalidParameter, match="set the tokens per chunk"):
        split_loss(dl.TableModel(["H", "T"], distribution), "T T T H T H")
    for length in (0, 5):
        with pytest.raises(InvalidParameter, match=rf"in \[1, 4\], the context of table, got {length}"):
            split_loss(dl.TableModel(["H", "T"], distribution, context_length=4), "T T T H T H", context_length=length)
