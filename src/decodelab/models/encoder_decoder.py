"""Encoder-decoder models of transformers (T5, BART and their kin) behind the `LanguageModel` protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from decodelab.core.errors import EmptyPrompt, ModelError, PromptTooLong, UnknownToken
from decodelab.core.protocols import PAD, Cache
from decodelab.core.values import Tokens
from decodelab.models import checkpoint
from decodelab.models.attention import attending, configs
from decodelab.models.cache import ROOM, GrowingLayer, KeyValueCache, grown
from decodelab.models.cross import CrossLayer, DecoderCache
from decodelab.models.transformers_model import device_named, digest_in_memory, dtype_named, vocab_of
from decodelab.models.transformers_vocab import TransformersVocab

PROVEN_PAIRS = frozenset({"bart", "blenderbot", "marian", "mbart", "mt5", "pegasus", "plbart", "t5", "umt5"})
"""Architectures (`model_type`) that the tests drive through ragged batches, forks, rewinds and joins."""


class PairVocab(TransformersVocab):
    """The vocabulary of an encoder-decoder model: a prompt is framed as its encoder expects it, EOS included."""

    def encode(self, text: str) -> Tokens:
        """Token ids of a prompt's text, with all special tokens that the tokenizer puts around it."""
        return self._known(self.tokenizer(text, add_special_tokens=True, verbose=False)["input_ids"])

    def encode_completion(self, prompt: Tokens, text: str) -> Tokens:
        """Token ids of text that follows what the decoder wrote; of a whole text, with what the tokenizer puts before.

        The decoder of BART was taught that a text begins with BOS, so that this token is part of it.
        """
        return super().encode_completion(prompt, text) if self.decode(prompt) else self._prefix + self._plain(text)

    def _known(self, ids: Sequence[int]) -> Tokens:
        if ids and max(ids) >= self.size:
            raise UnknownToken(
                f"prompt: token id {max(ids)} of the tokenizer is outside the model's vocabulary of {self.size}; "
                "the tokenizer does not belong to this model"
            )
        return tuple(ids)


class EncoderDecoderModel:
    """An encoder-decoder model of transformers behind the `LanguageModel` protocol.

    The prompt is what the encoder reads, once; the decoder begins with the model's `decoder_start_token_id`, which is
    no part of what is generated, and every new token sees the whole prompt through cross-attention, whose keys and
    values the rows of a prompt share. Processors see the decoder's tokens, as in transformers, not the prompt's.

    Differs from transformers: `forced_bos_token_id` is a stage (`forced_bos`) and belongs to the strategy `default`,
    like `forced_eos_token_id` where the settings say at which length; other strategies are taken as they are written.

    Args:
        model: a `PreTrainedModel` with an encoder, a decoder and a language-model head, already on its device.
        tokenizer: its tokenizer.
        name: what to call it.
        directory: where it was loaded from; its files give the digest.

    Raises:
        ModelError: when the architecture is not one of `PROVEN_PAIRS`, or says no token to begin with.
    """

    whole_prompts: Final = True

    def __init__(self, model: Any, tokenizer: Any, *, name: str | None = None, directory: Path | None = None):
        config = model.config
        if config.model_type not in PROVEN_PAIRS:
            raise ModelError(
                f"{type(model).__name__}: an encoder-decoder model of type {config.model_type!r}, which is not "
                f"supported yet; use one of {', '.join(sorted(PROVEN_PAIRS))}"
            )
        self.model = model.eval()
        self._name = name or config.model_type
        self._directory = directory
        plain = vocab_of(model, tokenizer)
        self._vocab = PairVocab(tokenizer, plain.size, plain.eos_ids, plain.bos_id)
        self._begin = _begin(model)
        self._generation_config = _generation_config(model, directory)
        self._encoder, self._decoder = model.get_encoder(), model.get_decoder()
        self._configs = [*configs(self._decoder), config]
        self._positions = getattr(self._decoder, "embed_positions", None)
        self._most = None if self._positions is None else int(config.max_position_embeddings)
        self._layers = int(getattr(config, "num_decoder_layers", None) or config.decoder_layers)
        self._digest: str | None = None
        self._bytes: tuple[int, int] | None = None

    @staticmethod
    def load(
        path_or_id: str | Path, *, name: str | None = None, dtype: str = "auto", device: str = "auto"
    ) -> EncoderDecoderModel:
        """Load a directory or a hub model as `TransformersModel.load` does.

        Raises:
            ModelNotFound, ModelFormatError, ModelError: as there.
        """
        place = device_named(device)
        kind = dtype_named(dtype, place)
        directory = checkpoint.locate(path_or_id)
        model, tokenizer = checkpoint.read(directory, kind)
        return EncoderDecoderModel(model.to(place), tokenizer, name=name or str(path_or_id), directory=directory)

    @property
    def name(self) -> str:
        """The name it was loaded under."""
        return self._name

    @property
    def digest(self) -> str:
        """SHA-256 over configuration, weights and tokenizer, in hex; computed when first asked for."""
        if self._digest is None:
            self._digest = (
                checkpoint.digest(self._directory)
                if self._directory is not None
                else digest_in_memory(self.model, self._vocab.tokenizer)
            )
        return self._digest

    @property
    def vocab(self) -> PairVocab:
        """Its tokenizer, over as many ids as the logits have."""
        return self._vocab

    @property
    def context_length(self) -> None:
        """There is no bound on prompt and answer together; see `longest_prompt` and `longest_answer`."""

    @property
    def generation_config(self) -> dict[str, Any]:
        """The generation settings that the model sets itself, in transformers' names; of token ids, forced ones."""
        return dict(self._generation_config)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of its weights."""
        return self.model.dtype

    # decodelab.core.protocols.EncoderDecoder

    @property
    def begin(self) -> Tokens:
        """What its decoder begins with."""
        return self._begin

    @property
    def longest_prompt(self) -> int | None:
        """The most tokens its encoder has positions for; None where positions are relative (T5)."""
        return self._most

    @property
    def longest_answer(self) -> int | None:
        """The most new tokens its decoder has positions for; None where positions are relative (T5)."""
        return None if self._most is None else self._most - len(self._begin) + 1

    def cache_bytes(self, prompt: int, rows: int, new: int) -> int:
        """Bytes a cache may come to hold for `rows` continuations of `new` tokens of a prompt of `prompt` tokens."""
        if self._bytes is None:
            _, cache = self.prefill([(0,)])
            buffers = [b for layer in cache.own.growing for b in layer.buffers()]
            self._bytes = (
                sum(b[:, :, :1].nbytes for b in buffers),
                sum(
                    tensor.nbytes
                    for layer in cache.layers
                    for tensor in (layer.keys, layer.values)
                    if tensor is not None
                ),
            )
        own, read = self._bytes
        return read * prompt + own * rows * grown(len(self._begin) + new, ROOM)

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Tokens]) -> tuple[Tensor, DecoderCache]:
        """Encode prompts of any lengths: the logits of the first new token of each, [rows, vocab], and their cache.

        Raises:
            EmptyPrompt: when a prompt has no tokens.
            PromptTooLong: when a prompt exceeds the encoder's positions.
            UnknownToken: when a token id is outside the vocabulary.
        """
        self._check(prompts)
        rows, width = len(prompts), max(map(len, prompts))
        pads = [width - len(prompt) for prompt in prompts]
        # Encoders count positions from the left. What fills the padding does not matter: it is masked.
        padded = [[*prompt, *[0] * pad] for prompt, pad in zip(prompts, pads, strict=True)]
        ids = torch.tensor(padded, device=self.device)
        if any(pads):
            shift = torch.tensor(pads, device=self.device)[:, None]
            index = torch.arange(width, device=self.device)[None]
            read = self._encoder(input_ids=ids, attention_mask=(index < width - shift).long()).last_hidden_state
            read = read.take_along_dim((index - shift).clamp(min=0)[:, :, None], dim=1)
        else:
            read = self._encoder(input_ids=ids).last_hidden_state
        own = KeyValueCache([GrowingLayer() for _ in range(self._layers)], [0] * rows, self.device, unshared="")
        layers = [CrossLayer() for _ in range(self._layers)]
        cache = DecoderCache(own, layers, pads, range(rows), len(self._begin))
        begin = torch.tensor([self._begin] * rows, device=self.device)
        return self._forward(begin, cache, read)[:, -1], cache

    @torch.inference_mode()
    def decode(self, cache: Cache, tokens: Tensor) -> tuple[Tensor, DecoderCache]:
        """Append int64 tokens [rows, k] to what the decoder wrote: the logits after each, [rows, k, vocab].

        Raises:
            PromptTooLong: when a row would exceed the decoder's positions.
            UnknownToken: when a token id is outside the vocabulary; tokens on an accelerator are not looked at.
        """
        assert isinstance(cache, DecoderCache)
        if len(tokens) != len(cache.owners) or not tokens.numel():
            raise ValueError(f"decode: tokens must be [{len(cache.owners)}, k >= 1], got {list(tokens.shape)}")
        longest = max(cache.own.lengths) + tokens.shape[1]
        if self._most is not None and longest > self._most:
            raise PromptTooLong(
                f"{self.name}: {longest} tokens exceed the {self._most} positions of the decoder; ask for fewer"
            )
        if tokens.device.type == "cpu":
            low, high = torch.aminmax(tokens)
            self._check_ids(int(tokens[:, 0].min() if low == PAD else low), int(high))
            filler = tokens == PAD
            if low == PAD and bool((filler[:, :-1] & ~filler[:, 1:]).any()):
                raise ValueError("decode: padding must come after all tokens of a row")
        nothing = torch.empty(1, 1, 0, device=self.device)
        return self._forward(tokens.to(self.device).clamp(min=0), cache, nothing), cache

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

    def _check(self, prompts: Sequence[Tokens]) -> None:
        if not prompts:
            raise ValueError("prefill: no prompts")
        for prompt in prompts:
            if not prompt:
                raise EmptyPrompt(f"{self.name}: a prompt must have at least one token, got none; begin with BOS")
            if self._most is not None and len(prompt) > self._most:
                raise PromptTooLong(
                    f"{self.name}: the prompt has {len(prompt)} tokens, its encoder {self._most} positions; shorten it"
                )
            self._check_ids(min(prompt), max(prompt))

    def _check_ids(self, low: int, high: int) -> None:
        if low < 0 or high >= self._vocab.size:
            got = low if low < 0 else high
            raise UnknownToken(f"{self.name}: token ids must be in [0, {self._vocab.size}), got {got}")


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


def _generation_config(model: Any, directory: Path | None) -> dict[str, Any]:
    """The model's own settings, with the tokens that it forces."""
    own = model.generation_config.to_diff_dict()
    settings = checkpoint.own_settings(own) if directory is None else checkpoint.generation_settings(directory)
    forced = {name: own.get(name) for name in ("forced_bos_token_id", "forced_eos_token_id")}
    if "max_length" not in settings and "max_new_tokens" not in settings:
        del forced["forced_eos_token_id"]
    return settings | {name: token for name, token in forced.items() if token is not None}
