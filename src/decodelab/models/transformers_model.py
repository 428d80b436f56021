"""`TransformersModel`: any decoder-only causal language model of transformers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

from decodelab.core.errors import ModelError, UnsupportedStrategy
from decodelab.core.protocols import Cache
from decodelab.core.protocols import Segment as ProtocolSegment
from decodelab.core.values import Tokens
from decodelab.models import checkpoint
from decodelab.models.angles import Angles
from decodelab.models.arithmetic import Arithmetic, decoder_arithmetic
from decodelab.models.attention import attending, configs, prefixed
from decodelab.models.cache import KeyValueCache, Segment
from decodelab.models.decoder import Decoder
from decodelab.models.regimes import RegimeCache, Regimes, RegimeSegment
from decodelab.models.transformers_cache import TransformersCache, TransformersLayer
from decodelab.models.transformers_network import content_digest, declared
from decodelab.models.transformers_weights import direct_of

PROVEN = frozenset({
    "apertus", "arcee", "biogpt", "bitnet", "bloom", "codegen", "cohere", "cohere2", "ctrl",
    "deepseek_v3", "diffllama", "doge", "ernie4_5", "exaone4", "falcon", "gemma", "gemma2",
    "gemma3_text", "gemma4_text", "glm4", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_oss",
    "gptj", "granite", "helium", "jetmoe", "lfm2", "llama", "llama4_text", "minimax_m2", "mistral",
    "mixtral", "modernbert-decoder", "mpt", "nemotron", "olmo2", "opt", "persimmon", "phi", "phi3",
    "qwen2", "qwen3", "qwen3_moe", "seed_oss", "smollm3", "stablelm", "starcoder2", "vaultgemma",
    "xglm",
})  # fmt: skip
"""Architectures (`model_type`) that the tests drive through ragged batches, forks, rewinds and joins; any other is
probed when it is loaded."""

SHARING = frozenset({
    "apertus", "arcee", "biogpt", "bitnet", "cohere", "cohere2", "ctrl", "ernie4_5", "exaone4", "gemma", "gemma2",
    "gemma3_text", "gemma4_text", "glm4", "gpt2", "gpt_bigcode", "gpt_neox", "gpt_oss", "granite", "helium", "lfm2",
    "llama", "minimax_m2", "mistral", "mixtral", "modernbert-decoder", "nemotron", "olmo2", "opt", "persimmon", "phi",
    "phi3", "qwen2", "qwen3", "qwen3_moe", "seed_oss", "smollm3", "stablelm", "starcoder2", "vaultgemma",
})  # fmt: skip
"""Those whose forked rows share prefixes: their attention goes through transformers' attention interface alone."""


class TransformersModel(Decoder):
    """A causal language model of transformers behind the `LanguageModel` protocol.

    Args:
        model: a `PreTrainedModel` with a causal language-model head, already on its device.
        tokenizer: its tokenizer.
        name: what to call it.
        directory: where it was loaded from; its files give the digest.
        adapters: the directories of the adapters merged into it, likewise.

    Attributes:
        name: the name it was loaded under.
        model: the network of transformers.
        tokenizer: its tokenizer.
        vocab: its tokenizer, over as many ids as the logits have.
        context_length: the longest sequence it can hold, or None when its architecture sets no bound.

    Raises:
        ModelError: when the architecture is not decoder-only with a plain key/value cache.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str | None = None,
        directory: Path | None = None,
        adapters: Sequence[Path] = (),
    ):
        self.model = model.eval()
        parameters = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in parameters
        self._takes_last = "logits_to_keep" in parameters
        layers = _layers(model, parameters)
        self._dummies = frozenset(at for at, layer in enumerate(layers) if type(layer) is DummyLayer)
        self._growing = len(layers) - len(self._dummies)
        self._windows: list[int | None] = [getattr(layer, "sliding_window", None) for layer in layers]
        self._configs = configs(model)
        super().__init__(
            tokenizer,
            declared(model),
            unshared=_unshared(model, layers),
            name=name,
            directory=directory,
            adapters=adapters,
        )
        self._direct = direct_of(model)
        angles = Angles.of(model)
        self._regimes = None if angles is None else Regimes(angles, self._begin, self._append, self._resume)
        if model.config.model_type not in PROVEN:
            self._probe()

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

    def arithmetic(self) -> Arithmetic:
        """What it multiplies."""
        return decoder_arithmetic(self.model)

    def _empty(self, pads: Sequence[int]) -> KeyValueCache:
        layers = [TransformersLayer() for _ in range(self._growing)]
        return TransformersCache(layers, pads, self.device, self._unshared, self._dummies)

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Tokens]) -> tuple[Tensor, KeyValueCache | RegimeCache]:
        """As `Decoder.prefill`; rows whose rotary angles depend on their length are computed regime by regime."""
        self._check_prompts(prompts)
        return self._begin(prompts) if self._regimes is None else self._regimes.prefill(prompts)

    @torch.inference_mode()
    def _begin(self, prompts: Sequence[Tokens], shown: list[Tensor] | None = None) -> tuple[Tensor, KeyValueCache]:
        logits, cache = super()._begin(prompts, shown)
        width = max(map(len, prompts))
        if any(layer.length != width for layer in cache.growing):
            raise ModelError(
                f"{self.name}: {type(self.model).__name__} keeps other state than keys and values; "
                "not supported yet; use a decoder-only transformer"
            )
        return logits, cache

    def store_prefix(self, cache: Cache, row: int, start: int, stop: int) -> Segment | RegimeSegment:
        """A copy of the keys and values that a cache from `prefill` or `load_prefix` holds of some tokens of a row."""
        assert isinstance(cache, KeyValueCache | RegimeCache)
        return cache.segment(row, start, stop)

    @torch.inference_mode()
    def load_prefix(
        self, segments: Sequence[Sequence[ProtocolSegment]], lengths: Sequence[int], tokens: Tensor
    ) -> tuple[Tensor, Cache]:
        """As `Decoder.load_prefix`, of segments that were stored under the same angles."""
        if self._regimes is None:
            return super().load_prefix(segments, lengths, tokens)
        begun = [[segment for segment in row if isinstance(segment, RegimeSegment)] for row in segments]
        return self._regimes.load(begun, lengths, tokens)

    @torch.inference_mode()
    def decode(self, cache: Cache, tokens: Tensor) -> tuple[Tensor, KeyValueCache | RegimeCache]:
        """As `Decoder.decode`; rows that grow into other rotary angles are computed anew."""
        tokens = self._checked(cache, tokens)
        if self._regimes is not None:
            assert isinstance(cache, RegimeCache)
            return self._regimes.decode(cache, tokens)
        assert isinstance(cache, KeyValueCache)
        return self._append(cache, tokens)

    @property
    def embeddings(self) -> Tensor:
        """The vectors that stand for its tokens, [vocab, width] or with unused rows below."""
        return self.model.get_input_embeddings().weight

    @property
    def depth(self) -> int:
        """How many blocks it has."""
        return self.model.config.get_text_config(decoder=True).num_hidden_layers

    @property
    def tied(self) -> bool:
        """Whether embedding and head share their weights."""
        head = self.model.get_output_embeddings()
        return head is not None and head.weight is self.embeddings

    @torch.inference_mode()
    def prefill_with_hidden_states(
        self, prompts: Sequence[Tokens], layers: Sequence[int]
    ) -> tuple[Tensor, Tensor, KeyValueCache]:
        """As `Decoder.prefill_with_hidden_states`.

        Raises:
            UnsupportedStrategy: for a network whose rotary angles depend on the length of the text.
        """
        if self._regimes is not None:
            raise UnsupportedStrategy(
                f"{self.name}: its rotary angles depend on the length of the text, and what needs the hidden states "
                "of its layers is not supported there; use another strategy or model"
            )
        return super().prefill_with_hidden_states(prompts, layers)

    @torch.inference_mode()
    def early_exit_logits(self, hidden: Tensor) -> Tensor:
        """The head's logits [..., vocab] of hidden states [..., width], without the final norm.

        Raises:
            UnsupportedStrategy: when the model has no head to put on them.
        """
        head = self.model.get_output_embeddings()
        if head is None:
            raise UnsupportedStrategy(f"{self.name}: {type(self.model).__name__} has no head for its hidden states")
        return head(hidden)

    @torch.inference_mode()
    def _probe(self) -> None:
        """Refuse a model whose logits change with a cache and left padding: not causal, or with state elsewhere.

        Raises:
            ModelError: when logits from a padded batch and its cache are not those of the sequence alone.
        """
        tokens = [(7 * i + 3) % self.vocab.size for i in range(12)]
        kind = type(self.model).__name__
        fix = "not supported yet; use a decoder-only transformer with a key/value cache"
        try:
            expected = torch.stack([self._bare(tokens, 10, 13), self._bare(tokens, 3, 6)]).double()
            _, cache = self.prefill([tuple(tokens[:9]), tuple(tokens[:2])])
            logits, _ = self.decode(cache, torch.tensor([tokens[9:], tokens[2:5]]))
        except ModelError:
            raise
        except Exception as error:  # whatever modelling code raises when driven in a way it does not know
            reason = checkpoint.one_line(error)
            raise ModelError(f"{kind}: it does not work with a cache ({reason}); {fix}") from error
        difference = torch.linalg.vector_norm(logits.double() - expected, dim=-1)
        scale = torch.linalg.vector_norm(expected - expected.mean(-1, keepdim=True), dim=-1)
        # Above the rounding of the number format, below what a lost prefix, the future or a wrong position does.
        tolerance = 0.01 if self.dtype == torch.float32 else 0.1
        if bool((difference > tolerance * scale).any()):
            raise ModelError(f"{kind}: a cache or padding changes its logits, so it is not a causal decoder; {fix}")

    def _bare(self, tokens: Sequence[int], first: int, stop: int) -> Tensor:
        """The bare network's logits after the first `first` ... `stop - 1` of these tokens, [lengths, vocab]."""

        def after(count: int) -> Tensor:
            ids = torch.tensor([tokens[:count]], device=self.device)
            return self.model(input_ids=ids, use_cache=False).logits[0]

        if self._regimes is None:
            return after(len(tokens))[first - 1 : stop - 1]
        rows: list[Tensor] = []
        for count in range(first, stop):  # one pass over all has the angles of the longest
            self._regimes.angles.reset()
            rows.append(after(count)[-1])
        return torch.stack(rows)

    def _forward(
        self, ids: Tensor, cache: TransformersCache, last: bool = False, shown: list[Tensor] | None = None
    ) -> Tensor:
        """Logits of tokens appended to the cache; hidden states of all layers are put into `shown`."""
        if self._regimes is not None:
            self._regimes.angles.reset()
        if self._direct is not None:
            return self._direct(ids, cache, last, shown)
        count = ids.shape[1]
        inputs: dict[str, Any] = {"logits_to_keep": 1} if last and self._takes_last else {}
        if shown is not None:
            inputs["output_hidden_states"] = True
        shared = cache.attention(count)
        if shared is not None:
            if self._takes_positions:
                inputs["position_ids"] = cache.positions(count)
            with attending(self._configs, prefixed(shared, self._windows)):
                out = self.model(input_ids=ids, past_key_values=cache, use_cache=True, **inputs)
        else:
            padding = cache.padding(count)
            if padding is not None:
                inputs["attention_mask"] = padding.long()
                if self._takes_positions:
                    inputs["position_ids"] = cache.positions(count)
            out = self.model(input_ids=ids, past_key_values=cache, use_cache=True, **inputs)
        if shown is not None:
            shown += out.hidden_states
        return out.logits


def _layers(model: Any, parameters: Any) -> list[Any]:
    """The layers of a cache as transformers would make them for this model.

    Raises:
        ModelError: when a layer keeps anything but keys and values.
    """
    name, config = type(model).__name__, model.config
    fix = "not supported yet; use a decoder-only transformer with a key/value cache"
    if config.is_encoder_decoder:
        raise ModelError(f"{name}: an encoder-decoder model; {fix}")
    if getattr(model, "_is_stateful", False):
        raise ModelError(f"{name}: a recurrent or hybrid model; {fix}")
    if "past_key_values" not in parameters:
        raise ModelError(f"{name}: its forward pass takes no key/value cache; {fix}")
    try:
        layers = DynamicCache(config=config).layers
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise ModelError(f"{name}: transformers has no key/value cache for it; {fix}") from error
    for layer in layers:
        if type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer, DummyLayer):
            raise ModelError(f"{name}: a layer keeps its state as {type(layer).__name__}; {fix}")
    if all(type(layer) is DummyLayer for layer in layers):
        raise ModelError(f"{name}: no layer keeps keys and values; {fix}")
    return layers


def _unshared(model: Any, layers: Sequence[Any]) -> str | None:
    """Why forked rows cannot share prefixes; None when they can."""
    if model.config.model_type in SHARING and not any(type(layer) is DummyLayer for layer in layers):
        return None
    return (
        f"{type(model).__name__}: beams and samples of a prompt do not share its cache, which is copied for each; "
        "the result is the same, it takes longer and more memory"
    )
