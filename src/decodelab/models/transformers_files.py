"""Reading a model's directory with transformers."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from decodelab.core.errors import ModelError, ModelFormatError, quoted
from decodelab.core.quiet import quiet
from decodelab.models import adapters
from decodelab.models.checked_files import CheckedFiles
from decodelab.models.checkpoint import one_line
from decodelab.models.ingredients import ADAPTER_FILES
from decodelab.models.kinds import refuse_other_heads, refuse_other_kinds
from decodelab.models.sizes import check_network


def read_with_transformers(
    files: CheckedFiles,
    dtype: torch.dtype | None,
    device: torch.device,
    adapted: Sequence[Path] = (),
    ignore_unexpected: bool = False,
) -> tuple[Any, Any]:
    """The network of a model's directory, on its device, and its tokenizer.

    Args:
        files: the directory.
        dtype: the number format of its weights; None: the checkpoint's own.
        device: where it is to compute.
        adapted: directories of adapters to merge into it, in order.
        ignore_unexpected: whether to load weights that hold tensors without a place in the network.

    Raises:
        ModelFormatError: when it is damaged or does not fit its configuration.
        ModelError: when transformers has no language model for it.
    """
    pair = refuse_other_kinds(quoted(files.directory), files.config)
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    kind = AutoModelForSeq2SeqLM if pair else AutoModelForCausalLM
    network, tokenizer = _read(files, kind, dtype, ignore_unexpected)
    for adapter in adapted:
        network = adapters.merged(network, adapter)
    return network.to(device), tokenizer


def read_classifier(files: CheckedFiles, dtype: torch.dtype | None, device: torch.device) -> tuple[Any, Any]:
    """The network of a directory that holds a sequence or token classifier, on its device, and its tokenizer.

    Raises:
        ModelFormatError: when it is damaged or does not fit its configuration.
        ModelError: when it has no such head, or transformers does not know it.
    """
    of_tokens = refuse_other_heads(quoted(files.directory), files.config)
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    kind = AutoModelForTokenClassification if of_tokens else AutoModelForSequenceClassification
    network, tokenizer = _read(files, kind, dtype, False)
    return network.to(device).eval(), tokenizer


def _read(files: CheckedFiles, kind: Any, dtype: torch.dtype | None, ignore_unexpected: bool) -> tuple[Any, Any]:
    """The network of a directory as an auto class of transformers reads it, and its tokenizer."""
    from transformers import AutoConfig

    directory, config, held = files.directory, files.config, files.tensors
    where, tensors = quoted(directory), list(held.values())
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
