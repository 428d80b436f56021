"""`Pretrained`: how models of transformers are loaded, and what decoder-only and encoder-decoder models share."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from decodelab.core.errors import ModelError, ModelFormatError, did_you_mean, quoted
from decodelab.core.quiet import quiet
from decodelab.models import adapters, checkpoint
from decodelab.models.checkpoint import TOKENIZER_FILES, one_line, read_config
from decodelab.models.ends import begin_of, ends_of
from decodelab.models.ingredients import ADAPTER_FILES, digest_of
from decodelab.models.kinds import refuse_other_kinds
from decodelab.models.sizes import check_config, check_network

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_LENGTHS = frozenset(("max_length", "max_new_tokens"))


class Pretrained:
    """A network of transformers with its tokenizer: what models of either kind are.

    Args:
        model: a `PreTrainedModel`, already on its device.
        tokenizer: its tokenizer.
        name: what to call it; None: its architecture.
        directory: where it was loaded from; its files give digest and settings.
        adapters: the directories of the adapters merged into it.

    Attributes:
        vocab_size: how many ids its logits range over.
        eos_ids: the tokens that end a sequence (`decodelab.models.ends`).
        bos_id: the token that begins a sequence, if any.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str | None = None,
        directory: Path | None = None,
        adapters: Sequence[Path] = (),
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name or str(model.config.model_type)
        self.directory = directory
        self.adapters = tuple(adapters)
        head = model.get_output_embeddings()
        config = model.config.get_text_config(decoder=True)
        self.vocab_size: int = config.vocab_size if head is None else head.weight.shape[0]
        self.eos_ids: tuple[int, ...] = ends_of(self.name, model, tokenizer, self.vocab_size)
        self.bos_id: int | None = begin_of(self.name, model, tokenizer, self.vocab_size)
        self._generation_config = self._settings()

    @property
    def digest(self) -> str:
        """SHA-256 over everything its texts depend on (`decodelab.models.ingredients`), in hex; computed once."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        decided = {
            "dtype": str(self.dtype),
            "eos": self.eos_ids,
            "bos": self.bos_id,
            "settings": self._generation_config,
            "context": getattr(self, "context_length", None),
        }
        if self.directory is not None:
            return digest_of([self.directory, *self.adapters], decided)
        sha = hashlib.sha256(digest_of([], decided).encode())
        sha.update(self.model.config.to_json_string().encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            sha.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        for piece, token in sorted(self.tokenizer.get_vocab().items()):
            sha.update(f"{piece}\0{token}\0".encode(errors="surrogatepass"))
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        sha.update(repr((self.tokenizer.chat_template, self.tokenizer.special_tokens_map)).encode())
        sha.update(b"" if backend is None else backend.to_str().encode())
        return sha.hexdigest()

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

    def _settings(self) -> dict[str, Any]:
        """The generation settings of its directory, or else of the network, with the tokens that they force."""
        own = self.model.generation_config
        given = own.to_diff_dict() if own is not None else {}
        if self.directory is not None:
            settings = checkpoint.generation_settings(self.directory)
        else:
            settings = checkpoint.own_settings(given)
        if isinstance(words := settings.get("bad_words_ids"), list):
            # As in transformers, an end is no bad word; `default` is not told which tokens are ends.
            settings["bad_words_ids"] = [w for w in words if w not in [[token] for token in self.eos_ids]] or None
        forced = {field: given.get(field) for field in ("forced_bos_token_id", "forced_eos_token_id")}
        if not _LENGTHS & settings.keys():  # they say where the end is forced
            del forced["forced_eos_token_id"]
        return settings | {field: token for field, token in forced.items() if token is not None}

    def unfollowed(self) -> list[str]:
        """What its files say that is not followed, one line each."""
        found: list[str] = []
        own, listed = self.tokenizer.eos_token_id, self.tokenizer.convert_ids_to_tokens
        if own is not None and own not in self.eos_ids:
            ends = ", ".join(f"{listed(token)!r:.60} ({token})" for token in self.eos_ids)
            found.append(
                f"{self.name}: texts end at {ends}, which its configuration names, and not at the tokenizer's own end "
                f"{listed(own)!r:.60} ({own}); end there too with a stop token id"
            )
        given = getattr(self.model.generation_config, "forced_eos_token_id", None)
        if given is not None and "forced_eos_token_id" not in self._generation_config:
            found.append(
                f"{self.name}: forced_eos_token_id {given!r:.40} of its generation config has no effect, because no "
                "max_new_tokens or max_length there says where; write forced_eos(at=N) into the strategy"
            )
        return found


@dataclass(frozen=True)
class Loaded:
    """A network on its device with its tokenizer, and where both are from."""

    network: Any
    tokenizer: Any
    directory: Path
    adapters: tuple[Path, ...] = ()


def load_pretrained(
    path_or_id: str | Path, dtype: str, device: str, adapted: Sequence[Path] = (), ignore_unexpected: bool = False
) -> Loaded:
    """Load a directory, or a model of the Hugging Face hub by its id, from safetensors and without remote code.

    Args:
        path_or_id: a directory as `save_pretrained` writes it, or `owner/name`.
        dtype: float32, bfloat16, float16, or auto: float32 on CPU, the checkpoint's own elsewhere.
        device: cpu, cuda, cuda:N, mps, or auto: the first there is of CUDA, MPS and CPU.
        adapted: directories of adapters to merge into it, in order.
        ignore_unexpected: whether to load weights that hold tensors without a place in the network.

    Raises:
        ModelNotFound: when there is no such directory or hub model.
        ModelFormatError: when it is incomplete, damaged, not in safetensors, or does not fit its configuration.
        ModelError: when it does not write text or transformers does not know it, or device or dtype are not there.
    """
    place = _device_named(device)
    kind = _dtype_named(dtype, place)
    directory = checkpoint.locate(path_or_id)
    network, tokenizer = _read(directory, kind, ignore_unexpected)
    for adapter in adapted:
        network = adapters.merged(network, adapter)
    return Loaded(network.to(place), tokenizer, directory, tuple(adapted))


def _read(directory: Path, dtype: Any, ignore_unexpected: bool) -> tuple[Any, Any]:
    """Load the model and tokenizer of a directory on CPU; `dtype` is a torch dtype, or None for the checkpoint's own.

    Raises:
        ModelNotFound: when it is not there.
        ModelFormatError: when it is incomplete, damaged or unsafe.
        ModelError: when transformers has no language model for it.
    """
    where, config = quoted(directory), read_config(directory)
    held = checkpoint.tensors(directory)
    tensors = list(held.values())
    check_config(directory, config, tensors)
    if not any((directory / name).is_file() for name in TOKENIZER_FILES):
        raise ModelFormatError(f"model: {where} has no tokenizer (tokenizer.json); save the tokenizer beside the model")
    beside = next((name for name in ADAPTER_FILES if (directory / name).is_file()), None)
    if beside is not None and not ignore_unexpected:
        raise ModelFormatError(
            f"model: {where} has {beside} beside its weights, which would be left out; load base and adapter as "
            "BASE+ADAPTER, or go on without it (--ignore-unexpected)"
        )
    pair = refuse_other_kinds(where, config)
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    kind: Any = AutoModelForSeq2SeqLM if pair else AutoModelForCausalLM
    local = {"trust_remote_code": False, "local_files_only": True}
    tokenizer = _tokenizer(directory)
    with quiet(), _without_adapter(directory) as alone:
        try:
            described = AutoConfig.from_pretrained(alone, **local)
            with torch.device("meta"):
                empty = kind.from_config(described)
            check_network(directory, empty, tensors)
            network, report = kind.from_pretrained(
                alone,
                dtype="auto" if dtype is None else dtype,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                **local,
            )
        except ModelError:
            raise
        except Exception as error:  # whatever transformers raises for a configuration with nonsense in it
            raise ModelFormatError(
                f"model: {where} cannot be loaded ({one_line(error)}); get a complete copy"
            ) from error
    shapes = {name: tensor["shape"] for name, tensor in held.items()}
    _check_report(where, config["model_type"], report, shapes, ignore_unexpected)
    return network, tokenizer


def _tokenizer(directory: Path) -> Any:
    """The tokenizer of a directory.

    Raises:
        ModelFormatError: when it cannot be read.
    """
    from transformers import AutoTokenizer

    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
            tokenizer.decode(tokenizer("a")["input_ids"])  # of a wrong tokenizer_class only its use tells
        except Exception as error:  # the tokenizers library raises bare Exception
            raise ModelFormatError(
                f"model: the tokenizer of {quoted(directory)} cannot be read ({one_line(error)}); get a complete copy"
            ) from error
    return tokenizer


@contextmanager
def _without_adapter(directory: Path) -> Iterator[Path]:
    """The directory, or one without the adapter in it, which transformers would load by itself."""
    if not (directory / ADAPTER_FILES[0]).is_file():
        yield directory
        return
    with tempfile.TemporaryDirectory() as apart:
        for file in directory.iterdir():
            if file.name not in ADAPTER_FILES:
                (Path(apart) / file.name).symlink_to(file.resolve())
        yield Path(apart)


_TABLE = re.compile(
    r"(.*\.)?(masked_bias|causal_mask|position_ids|attn_bias|rotary(_emb)?\.(inv_freq|cos_cached|sin_cached)"
    r"|embed_positions\.weights)"
)
_MASK = re.compile(r".*\.(attn|attention)\.bias")


def _is_table(name: str, shape: Sequence[int] | None) -> bool:
    """Whether this is a mask or a table of positions, which old checkpoints hold and networks make themselves."""
    mask = shape is not None and len(shape) == 4 and shape[2] == shape[3]
    return bool(_TABLE.fullmatch(name) or (mask and _MASK.fullmatch(name)))


def _check_report(
    where: str,
    kind: str,
    report: Mapping[str, Any],
    shapes_of: Mapping[str, Sequence[int]],
    ignore_unexpected: bool,
) -> None:
    """Refuse weights that do not fit their network, by the name of the first tensor.

    Raises:
        ModelFormatError: naming tensor and shapes.
    """
    if shapes := sorted(report["mismatched_keys"]):
        name, found, wanted = shapes[0]
        raise ModelFormatError(
            f"model: {quoted(name)} in the weights of {where} has shape {list(found)} where config.json asks for "
            f"{list(wanted)} ({len(shapes)} such tensors); they do not belong together; get a complete copy"
        )
    if missing := sorted(report["missing_keys"]):
        raise ModelFormatError(
            f"model: the weights of {where} lack {len(missing)} tensors, the first is {missing[0]}; get a complete copy"
        )
    unexpected = sorted(name for name in report["unexpected_keys"] if not _is_table(name, shapes_of.get(name)))
    if unexpected and not ignore_unexpected:
        raise ModelFormatError(
            f"model: the weights of {where} hold {len(unexpected)} tensors that config.json (model_type {kind}) has "
            f"no place for, the first is {quoted(unexpected[0])}; correct config.json, or leave them out "
            "(--ignore-unexpected)"
        )


def _device_named(name: str) -> torch.device:
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


def _dtype_named(name: str, device: torch.device) -> torch.dtype | None:
    """The number format of that name; None means the checkpoint's own.

    Raises:
        ModelError: when the name is unknown.
    """
    if name == "auto":
        return torch.float32 if device.type == "cpu" else None
    if name not in _DTYPES:
        allowed = ", ".join(["auto", *_DTYPES])
        raise ModelError(f"dtype: must be one of {allowed}, got {name!r}{did_you_mean(name, _DTYPES) or '; use auto'}")
    return _DTYPES[name]
