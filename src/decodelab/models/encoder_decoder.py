"""`EncoderDecoderModel`: encoder-decoder models of transformers, such as T5 and BART."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from decodelab.core.errors import ModelError, PromptTooLong
from decodelab.core.protocols import Cache
from decodelab.core.values import Tokens
from decodelab.models.attention import attending, configs
from decodelab.models.cross import CrossLayer, DecoderCache
from decodelab.models.growing_layer import ROOM, grown
from decodelab.models.pretrained import Pretrained
from decodelab.models.token_checks import check_prompts, checked_tokens
from decodelab.models.transformers_cache import TransformersCache, TransformersLayer
from decodelab.models.transformers_network import content_digest, declared
from decodelab.models.transformers_vocab import TransformersVocab

PROVEN_PAIRS = frozenset({"bart", "blenderbot", "marian", "mbart", "mt5", "pegasus", "plbart", "t5", "umt5"})
"""Architectures (`model_type`) that the tests drive through ragged batches, forks, rewinds and joins."""


class PairVocab(TransformersVocab):
    """The vocabulary of an encoder-decoder model: a prompt is framed as its encoder expects it, EOS included."""

    def encode(self, text: str) -> Tokens:
        """Token ids of a prompt's text, with all special tokens that the tokenizer puts around it."""
        return self._ids(text, special=True)

    def encode_completion(self, prompt: Tokens, text: str) -> Tokens:
        """Token ids of text that follows what the decoder wrote; of a whole text, with what the tokenizer puts before.

        The decoder of BART was taught that a text begins with BOS, so that this token is part of it.
        """
        return super().encode_completion(prompt, text) if self.decode(prompt) else self._prefix + self._plain(text)


class EncoderDecoderModel(Pretrained):
    """An encoder-decoder model of transformers behind the `LanguageModel` protocol.

    The prompt is what the encoder reads, once; the decoder begins with the model's `decoder_start_token_id`, which is
    no part of what is generated, and every new token sees the whole prompt through cross-attention, whose keys and
    values the rows of a prompt share. Processors see the decoder's tokens, as in transformers, not the prompt's.

    Differs from transformers: `forced_bos_token_id` is a stage (`forced_bos`) and belongs to the strategy `default`,
    like `forced_eos_token_id` where the settings give a length; other strategies run as written.

    Args:
        model: a `PreTrainedModel` with an encoder, a decoder and a language-model head, already on its device.
        tokenizer: its tokenizer.
        name: what to call it.
        directory: where it was loaded from; its files give the digest.
        adapters: the directories of the adapters merged into it, likewise.

    Attributes:
        name: the name it was loaded under.
        vocab: its tokenizer, over as many ids as the logits have.
        begin: what its decoder begins with.
        longest_prompt: the most tokens its encoder has positions for; None where positions are relative (T5).
        longest_answer: the most new tokens its decoder has positions for; None where positions are relative (T5).
        context_length: None: prompt and answer have bounds of their own.

    Raises:
        ModelError: when the architecture is not one of `PROVEN_PAIRS`, or its settings name no token to begin with.
    """

    whole_prompts: Final = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str | None = None,
        directory: Path | None = None,
        adapters: Sequence[Path] = (),
    ):
        config = model.config
        if config.model_type not in PROVEN_PAIRS:
            raise ModelError(
                f"{type(model).__name__}: an encoder-decoder model of type {config.model_type!r}, which is not "
                f"supported yet; use one of {', '.join(sorted(PROVEN_PAIRS))}"
            )
        self.model = model.eval()
        said = replace(declared(model), context_length=None)
        super().__init__(tokenizer, said, name=name, directory=directory, adapters=adapters)
        self.vocab = PairVocab(tokenizer, self.vocab_size, self.eos_ids, self.bos_id)
        self.begin = _begin(model)
        self._encoder, self._decoder = model.get_encoder(), model.get_decoder()
        self._configs = [*configs(self._decoder), config]
        self._positions = getattr(self._decoder, "embed_positions", None)
        self.longest_prompt = None if self._positions is None else int(config.max_position_embeddings)
        self.longest_answer = None if self.longest_prompt is None else self.longest_prompt - len(self.begin) + 1
        self._layers = int(getattr(config, "num_decoder_layers", None) or config.decoder_layers)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of its weights."""
        return self.model.dtype

    @property
    def weights(self) -> Sequence[Tensor]:
        """Its weights, each once."""
        return list(self.model.parameters())

    def _digest_with(self, decided: Mapping[str, Any]) -> str:
        own = super()._digest_with(decided)
        return content_digest(self.model, self.tokenizer, own) if self.directory is None else own

    def cache_bytes(self, prompt: int, rows: int, new: int) -> int:
        """Bytes a cache may come to hold for `rows` continuations of `new` tokens of a prompt of `prompt` tokens."""
        own, read = self._token_bytes
        return read * prompt + own * rows * grown(len(self.begin) + new, ROOM)

    @cached_property
    def _token_bytes(self) -> tuple[int, int]:
        """Bytes of a token that a row wrote, and of one of a prompt, in all layers."""
        _, cache = self.prefill([(0,)])
        written = [buffer[:, :, :1] for layer in cache.own.growing for buffer in layer.buffers()]
        read = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values) if tensor is not None]
        return sum(tensor.nbytes for tensor in written), sum(tensor.nbytes for tensor in read)

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Tokens]) -> tuple[Tensor, DecoderCache]:
        """Encode prompts of any lengths: the logits of the first new token of each, [rows, vocab], and their cache.

        Raises:
            EmptyPrompt: when a prompt has no tokens.
            PromptTooLong: when a prompt exceeds the encoder's positions.
            UnknownToken: when a token id is outside the vocabulary.
        """
        check_prompts(self.name, prompts, self.vocab.size, self.longest_prompt, "positions of the encoder")
        rows, width = len(prompts), max(map(len, prompts))
        pads = [width - len(prompt) for prompt in prompts]
        # Encoders count positions from the left. The token in the padding does not matter: it is masked.
        padded = [[*prompt, *[0] * pad] for prompt, pad in zip(prompts, pads, strict=True)]
        ids = torch.tensor(padded, device=self.device)
        if any(pads):
            shift = torch.tensor(pads, device=self.device)[:, None]
            index = torch.arange(width, device=self.device)[None]
            read = self._encoder(input_ids=ids, attention_mask=(index < width - shift).long()).last_hidden_state
            read = read.take_along_dim((index - shift).clamp(min=0)[:, :, None], dim=1)
        else:
            read = self._encoder(input_ids=ids).last_hidden_state
        own = TransformersCache(
            [TransformersLayer() for _ in range(self._layers)], [0] * rows, self.device, unshared=""
        )
        layers = [CrossLayer() for _ in range(self._layers)]
        cache = DecoderCache(own, layers, pads, range(rows), len(self.begin))
        begin = torch.tensor([self.begin] * rows, device=self.device)
        return self._forward(begin, cache, read)[:, -1], cache

    @torch.inference_mode()
    def decode(self, cache: Cache, tokens: Tensor) -> tuple[Tensor, DecoderCache]:
        """Append int64 tokens [rows, k] to what the decoder wrote: the logits after each, [rows, k, vocab].

        Raises:
            PromptTooLong: when a row would exceed the decoder's positions.
            UnknownToken: when a token id is outside the vocabulary; tokens on an accelerator are not looked at.
        """
        assert isinstance(cache, DecoderCache)
        tokens = checked_tokens(self.name, tokens, len(cache.owners), self.vocab.size)
        longest, most = max(cache.own.lengths) + tokens.shape[1], self.longest_prompt
        if most is not None and longest > most:
            raise PromptTooLong(
                f"{self.name}: {longest} tokens exceed the {most} positions of the decoder; ask for fewer"
            )
        nothing = torch.empty(1, 1, 0, device=self.device)
        return self._forward(tokens.to(self.device), cache, nothing), cache

    def _forward(self, ids: Tensor, cache: DecoderCache, read: Tensor) -> Tensor:
        """Logits [rows, k, vocab] of tokens appended to a cache; `read` is looked at the first time only."""
        attention = cache.attention(ids.shape[1])
        positions = cache.own.positions(ids.shape[1])
        with attending(self._configs, attention), self._at(positions):
            return self.model(
                decoder_input_ids=ids, encoder_outputs=(read,), past_key_values=cache.pair, use_cache=True
            ).logits

    @contextmanager
    def _at(self, positions: Tensor | None) -> Iterator[None]:
        """Within this block the decoder's tokens are at these positions, [rows, k]; it knows one start for all rows."""
        if positions is None or self._positions is None:
            yield
            return

        def embedded(module: Any, *_: Any) -> Tensor:
            # Not a call: that would run this hook again.
            return module.forward(None, position_ids=positions.flatten()).view(*positions.shape, -1)

        hook = self._positions.register_forward_hook(embedded)
        try:
            yield
        finally:
            hook.remove()


def _begin(model: Any) -> Tokens:
    """What the decoder begins with."""
    for place in (model.generation_config, model.config):
        for field in ("decoder_start_token_id", "bos_token_id"):
            token = getattr(place, field, None)
            if isinstance(token, int):
                return (token,)
    raise ModelError(
        f"{type(model).__name__}: neither config nor generation_config has a decoder_start_token_id; add it to one"
    )
