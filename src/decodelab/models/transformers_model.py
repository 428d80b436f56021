"""Any decoder-only causal language model of transformers."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import DynamicCache
from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

from decodelab.core.errors import (
    EmptyPrompt,
    ModelError,
    PromptTooLong,
    UnknownToken,
    UnsupportedStrategy,
    did_you_mean,
)
from decodelab.core.protocols import PAD, Cache
from decodelab.core.protocols import Segment as ProtocolSegment
from decodelab.core.values import Tokens
from decodelab.models import checkpoint
from decodelab.models.attention import attending, configs, prefixed
from decodelab.models.cache import ROOM, ROOM_OF_FORKS, GrowingLayer, KeyValueCache, Segment, grown
from decodelab.models.direct import Direct
from decodelab.models.transformers_vocab import TransformersVocab

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
"""Those whose forked rows share their past: their attention goes through transformers' attention interface alone."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TransformersModel:
    """A causal language model of transformers behind the `LanguageModel` protocol.

    Prompts of different lengths share a batch by padding on the left, with masks and positions computed from the
    lengths; rows of equal length carry no mask, so that fused attention kernels apply. Keys and values are kept in
    place (`decodelab.models.cache`).

    Args:
        model: a `PreTrainedModel` with a causal language-model head, already on its device.
        tokenizer: its tokenizer.
        name: what to call it.
        directory: where it was loaded from; its files give the digest.

    Raises:
        ModelError: when the architecture is not decoder-only with a plain key/value cache.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str | None = None, directory: Path | None = None):
        self.model = model.eval()
        self._name = name or model.config.model_type
        self._directory = directory
        parameters = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in parameters
        self._takes_last = "logits_to_keep" in parameters
        layers = _layers(model, parameters)
        self._layer_types = [DummyLayer if type(layer) is DummyLayer else GrowingLayer for layer in layers]
        self._windows: list[int | None] = [getattr(layer, "sliding_window", None) for layer in layers]
        self._unshared = _unshared(model, layers)
        self._configs = configs(model)
        self._vocab = vocab_of(model, tokenizer)
        self._context = checkpoint.context_length(model.config.get_text_config(decoder=True).to_dict())
        self._digest: str | None = None
        self._token_bytes: int | None = None
        own = model.generation_config
        self._generation_config = (
            checkpoint.generation_settings(directory)
            if directory is not None
            else checkpoint.own_settings(own.to_diff_dict() if own is not None else {})
        )
        self._direct = Direct.of(model)
        if model.config.model_type not in PROVEN:
            self._probe()

    @staticmethod
    def load(
        path_or_id: str | Path, *, name: str | None = None, dtype: str = "auto", device: str = "auto"
    ) -> TransformersModel:
        """Load a directory, or a model of the Hugging Face hub by its id, from safetensors and without remote code.

        Args:
            path_or_id: a directory as `save_pretrained` writes it, or `owner/name`.
            name: what to call it; its path or id when not given.
            dtype: float32, bfloat16, float16, or auto: float32 on CPU, the checkpoint's own elsewhere.
            device: cpu, cuda, cuda:N, mps, or auto: the first there is of CUDA, MPS and CPU.

        Raises:
            ModelNotFound: when there is no such directory or hub model.
            ModelFormatError: when it is incomplete, damaged, or not in safetensors.
            ModelError: when the architecture is not supported, or the device or dtype is not there.
        """
        place = device_named(device)
        kind = dtype_named(dtype, place)
        directory = checkpoint.locate(path_or_id)
        model, tokenizer = checkpoint.read(directory, kind)
        return TransformersModel(model.to(place), tokenizer, name=name or str(path_or_id), directory=directory)

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
    def vocab(self) -> TransformersVocab:
        """Its tokenizer, over as many ids as the logits have."""
        return self._vocab

    @property
    def context_length(self) -> int | None:
        """The longest sequence it can hold, or None when its architecture sets no bound."""
        return self._context

    @property
    def generation_config(self) -> dict[str, Any]:
        """The generation settings that the model sets itself, in transformers' names, token ids left out."""
        return dict(self._generation_config)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of its weights."""
        return self.model.dtype

    def cache_bytes(self, prompt: int, rows: int, new: int) -> int:
        """Bytes a cache may come to hold for `rows` continuations of `new` tokens of a prompt of `prompt` tokens.

        Room to grow is counted; padding beside longer rows is not.
        """
        if self._token_bytes is None:
            _, cache = self.prefill([(0,)])
            self._token_bytes = sum(
                b[:, :, :1].numel() * b.element_size() for layer in cache.growing for b in layer.buffers()
            )
        if rows == 1 or self._unshared is not None:
            return self._token_bytes * rows * grown(prompt + new, ROOM)
        return self._token_bytes * (prompt + ROOM + rows * grown(new, ROOM_OF_FORKS))

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Tokens]) -> tuple[Tensor, KeyValueCache]:
        """Prefill prompts of any lengths: the logits after each, [rows, vocab], and their cache.

        Raises:
            EmptyPrompt: when a prompt has no tokens.
            PromptTooLong: when a prompt exceeds the context.
            UnknownToken: when a token id is outside the vocabulary.
        """
        return self._start(prompts, None)

    def _start(self, prompts: Sequence[Tokens], shown: list[Tensor] | None) -> tuple[Tensor, KeyValueCache]:
        self._check(prompts)
        width = max(map(len, prompts))
        pads = [width - len(prompt) for prompt in prompts]
        # What fills the padding does not matter: it is masked.
        ids = [[0] * pad + list(prompt) for pad, prompt in zip(pads, prompts, strict=True)]
        cache = KeyValueCache([kind() for kind in self._layer_types], pads, self.device, self._unshared)
        logits = self._forward(torch.tensor(ids, device=self.device), cache, last=True, shown=shown)[:, -1]
        if any(layer.length != width for layer in cache.growing):
            raise ModelError(
                f"{self.name}: {type(self.model).__name__} keeps more of its past than keys and values, which is "
                "not supported yet; use a decoder-only transformer"
            )
        return logits, cache

    def store_prefix(self, cache: Cache, row: int, start: int, stop: int) -> Segment:
        """A copy of the keys and values that a cache from `prefill` or `load_prefix` holds of some tokens of a row."""
        assert isinstance(cache, KeyValueCache)
        return cache.segment(row, start, stop)

    @torch.inference_mode()
    def load_prefix(
        self, pasts: Sequence[Sequence[ProtocolSegment]], lengths: Sequence[int], tokens: Tensor
    ) -> tuple[Tensor, KeyValueCache]:
        """Prefill prompts that begin with segments that are remembered: the logits after each and their cache.

        Args:
            pasts: for each row, the segments of its beginning, in order.
            lengths: how many tokens of them count, at least one.
            tokens: what follows, int64 [rows, k].
        """
        rows = [[segment for segment in past if isinstance(segment, Segment)] for past in pasts]
        cache = KeyValueCache([kind() for kind in self._layer_types], [0] * len(rows), self.device, self._unshared)
        cache.fill(rows, lengths, room=tokens.shape[1] + ROOM)
        return self._forward(tokens.to(self.device), cache, last=True)[:, -1], cache

    @torch.inference_mode()
    def decode(self, cache: Cache, tokens: Tensor) -> tuple[Tensor, KeyValueCache]:
        """Append int64 tokens [rows, k] to every row: the logits after each, [rows, k, vocab].

        Raises:
            PromptTooLong: when a row would exceed the context.
            UnknownToken: when a token id is outside the vocabulary; tokens on an accelerator are not looked at.
        """
        return self._extend(cache, tokens, None)

    def _extend(self, cache: Cache, tokens: Tensor, shown: list[Tensor] | None) -> tuple[Tensor, KeyValueCache]:
        assert isinstance(cache, KeyValueCache)
        if len(tokens) != len(cache.pads) or not tokens.numel():
            raise ValueError(f"decode: tokens must be [{len(cache.pads)}, k >= 1], got {list(tokens.shape)}")
        longest = max(cache.lengths) + tokens.shape[1]
        if self.context_length is not None and longest > self.context_length:
            raise PromptTooLong(
                f"{self.name}: {longest} tokens exceed the context length {self.context_length}; ask for fewer"
            )
        if tokens.device.type == "cpu":
            low, high = (int(bound) for bound in torch.aminmax(tokens))
            self._check_ids(int(tokens[:, 0].min()) if low == PAD else low, high)
            if low == PAD:
                filler = tokens == PAD
                if bool((filler[:, :-1] & ~filler[:, 1:]).any()):
                    raise ValueError("decode: padding must come after all tokens of a row")
                # What stands for filler does not matter: nothing before it sees it.
                tokens = tokens.clamp(min=0)
        else:
            tokens = tokens.clamp(min=0)
        return self._forward(tokens.to(cache.device), cache, shown=shown), cache

    @cached_property
    def unit_embeddings(self) -> Tensor:
        """The input embeddings, scaled to unit length: float32 [vocab, width] on the CPU."""
        vectors = self.model.get_input_embeddings().weight.detach()[: self.vocab.size]
        return normalize(vectors.float().cpu(), dim=-1)

    # decodelab.core.protocols.HiddenStates

    @property
    def depth(self) -> int:
        """How many blocks it has."""
        return self.model.config.get_text_config(decoder=True).num_hidden_layers

    @property
    def tied(self) -> bool:
        """Whether embedding and head share their weights."""
        head = self.model.get_output_embeddings()
        return head is not None and head.weight is self.model.get_input_embeddings().weight

    @torch.inference_mode()
    def prefill_with_hidden_states(
        self, prompts: Sequence[Tokens], layers: Sequence[int]
    ) -> tuple[Tensor, Tensor, KeyValueCache]:
        """As `prefill`, and the hidden states of these layers, [layers, rows, longest, width].

        Those of a shorter prompt come last in its row; what stands before them means nothing.
        """
        shown: list[Tensor] = []
        logits, cache = self._start(prompts, shown)
        return logits, torch.stack([shown[layer] for layer in layers]), cache

    @torch.inference_mode()
    def decode_with_hidden_states(
        self, cache: Cache, tokens: Tensor, layers: Sequence[int]
    ) -> tuple[Tensor, Tensor, KeyValueCache]:
        """As `decode`, and the hidden states of these layers, [layers, rows, k, width]."""
        shown: list[Tensor] = []
        logits, cache = self._extend(cache, tokens, shown)
        return logits, torch.stack([shown[layer] for layer in layers]), cache

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
        """Refuse a model that a cache and left padding change: one not causal, or whose past is elsewhere.

        Raises:
            ModelError: when logits from a padded batch and its cache are not those of the sequence alone.
        """
        tokens = [(7 * i + 3) % self.vocab.size for i in range(12)]
        kind = type(self.model).__name__
        fix = "not supported yet; use a decoder-only transformer with a key/value cache"
        try:
            plain = self.model(input_ids=torch.tensor([tokens], device=self.device), use_cache=False).logits[0]
            _, cache = self.prefill([tuple(tokens[:9]), tuple(tokens[:2])])
            logits, _ = self.decode(cache, torch.tensor([tokens[9:], tokens[2:5]]))
        except ModelError:
            raise
        except Exception as error:  # whatever modelling code raises when driven in a way it does not know
            reason = checkpoint.one_line(error)
            raise ModelError(f"{kind}: it does not work with a cache ({reason}); {fix}") from error
        expected = torch.stack([plain[9:], plain[2:5]]).double()
        difference = torch.linalg.vector_norm(logits.double() - expected, dim=-1)
        scale = torch.linalg.vector_norm(expected - expected.mean(-1, keepdim=True), dim=-1)
        # Above the rounding of the number format, below what a lost past, the future or a wrong position does.
        tolerance = 0.01 if self.dtype == torch.float32 else 0.1
        if bool((difference > tolerance * scale).any()):
            raise ModelError(f"{kind}: a cache or padding changes its logits, so it is not a causal decoder; {fix}")

    def _forward(
        self, ids: Tensor, cache: KeyValueCache, last: bool = False, shown: list[Tensor] | None = None
    ) -> Tensor:
        """Logits of tokens appended to the cache; hidden states of all layers are put into `shown`."""
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

    def _check(self, prompts: Sequence[Tokens]) -> None:
        if not prompts:
            raise ValueError("prefill: no prompts")
        for prompt in prompts:
            if not prompt:
                raise EmptyPrompt(f"{self.name}: a prompt must have at least one token, got none; begin with BOS")
            if self.context_length is not None and len(prompt) > self.context_length:
                raise PromptTooLong(
                    f"{self.name}: the prompt has {len(prompt)} tokens, the context {self.context_length}; shorten it"
                )
            self._check_ids(min(prompt), max(prompt))

    def _check_ids(self, low: int, high: int) -> None:
        if low < 0 or high >= self._vocab.size:
            got = low if low < 0 else high
            raise UnknownToken(f"{self.name}: token ids must be in [0, {self._vocab.size}), got {got}")


def vocab_of(model: Any, tokenizer: Any) -> TransformersVocab:
    """A tokenizer over as many ids as a model's logits have."""
    head = model.get_output_embeddings()
    config = model.config.get_text_config(decoder=True)
    size = config.vocab_size if head is None else head.weight.shape[0]
    own = model.generation_config
    eos = None if own is None else own.eos_token_id
    ids = [] if eos is None else [eos] if isinstance(eos, int) else list(eos)
    if tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
    bos = tokenizer.bos_token_id
    if bos is None and own is not None:
        bos = own.bos_token_id
    return TransformersVocab(tokenizer, size, list(dict.fromkeys(ids)), bos)


def digest_in_memory(model: Any, tokenizer: Any) -> str:
    """SHA-256 over the configuration, weights and tokenizer of a model that is nowhere but in memory, in hex."""
    sha = hashlib.sha256(model.config.to_json_string().encode())
    for name, tensor in sorted(model.state_dict().items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    for piece, token in sorted(tokenizer.get_vocab().items()):
        sha.update(f"{piece}\0{token}\0".encode())
    return sha.hexdigest()


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
            raise ModelError(f"{name}: a layer keeps its past as {type(layer).__name__}; {fix}")
    if all(type(layer) is DummyLayer for layer in layers):
        raise ModelError(f"{name}: no layer keeps keys and values; {fix}")
    return layers


def _unshared(model: Any, layers: Sequence[Any]) -> str | None:
    """Why rows that are forked cannot share their past; None when they can."""
    if model.config.model_type in SHARING and not any(type(layer) is DummyLayer for layer in layers):
        return None
    return (
        f"{type(model).__name__}: beams and samples of a prompt do not share its cache, which is copied for each; "
        "the result is the same, it takes longer and more memory"
    )


def device_named(name: str) -> torch.device:
    """The device of that name, checked to be there.

    Raises:
        ModelError: when there is no such device.
    """
    if name == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    there = ["cpu"]
    there += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))] if torch.cuda.is_available() else []
    there += ["mps"] if torch.backends.mps.is_available() else []
    if name not in there:
        raise ModelError(f"device: must be one of auto, {', '.join(there)} on this machine, got {name!r}; use auto")
    return torch.device(name)


def dtype_named(name: str, device: torch.device) -> torch.dtype | None:
    """The number format of that name; None means the checkpoint's own.

    Raises:
        ModelError: when the name is unknown.
    """
    if name == "auto":
        return torch.float32 if device.type == "cpu" else None
    if name not in DTYPES:
        allowed = ", ".join(["auto", *DTYPES])
        raise ModelError(f"dtype: must be one of {allowed}, got {name!r}{did_you_mean(name, DTYPES) or '; use auto'}")
    return DTYPES[name]
