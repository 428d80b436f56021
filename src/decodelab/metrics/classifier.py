"""Text classifiers from a directory or the hub, as judges of texts or pairs of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from decodelab.core.errors import InvalidData, ModelFormatError, ModelNotFound, quoted
from decodelab.core.quiet import quiet
from decodelab.io.text import expanded
from decodelab.metrics.checks import Floats

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Classifier:
    """A sequence-classification model: probabilities of its labels for texts, or pairs of texts.

    Attributes:
        labels: names of the classes, as the model's config gives them.

    Raises:
        ModelNotFound: if there is no such directory or hub id.
        ModelFormatError: if it is not a sequence classifier in safetensors, or has weights missing.
    """

    def __init__(self, name: str, *, batch: int = 32) -> None:
        from transformers import AutoModelForSequenceClassification

        self.name = name
        self.batch = batch
        self.model, self.tokenizer = load_encoder(name, AutoModelForSequenceClassification)
        labels: dict[Any, Any] = dict(self.model.config.id2label or {})
        self.labels = tuple(str(labels[i]) for i in sorted(labels))

    def probabilities(self, texts: Sequence[str | tuple[str, str]]) -> Floats:
        """Probability of each label for each text or pair of texts, float64 [texts, labels].

        Texts longer than the model holds are cut at its limit.
        """
        import torch

        rows: list[Floats] = []
        for begin in range(0, len(texts), self.batch):
            part = texts[begin : begin + self.batch]
            first = [t if isinstance(t, str) else t[0] for t in part]
            second = None if isinstance(part[0], str) else [t[1] for t in part]
            with torch.inference_mode():
                logits = self.model(**encoded(self.model, self.tokenizer, first, second)).logits.double()
            rows.append(torch.softmax(logits, dim=-1).cpu().numpy())
        return np.concatenate(rows) if rows else np.zeros((0, len(self.labels)))


def load_encoder(name: str, kind: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A transformers model of a kind (an Auto class) and its tokenizer, from a directory or the hub (safetensors only).

    Raises:
        ModelNotFound: if there is no such directory or hub id.
        ModelFormatError: if it is broken, unsafe, of another kind, or has weights missing.
    """
    from transformers import AutoTokenizer

    path = expanded(name)
    if name.startswith((".", "/", "~")) and not path.is_dir():
        raise ModelNotFound(f"there is no directory {quoted(name)}; check the path")
    source = str(path) if path.is_dir() else name
    try:
        with quiet():
            model, told = kind.from_pretrained(
                source, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # transformers, tokenizers and safetensors raise many kinds
        line = " ".join(str(error).split())[:300]
        if path.is_dir():
            raise ModelFormatError(f"{name!r} cannot be loaded: {line}") from None
        raise ModelNotFound(f"{name!r} is not a directory and cannot be fetched: {line}") from None
    if told["missing_keys"]:
        missing = sorted(told["missing_keys"])
        raise ModelFormatError(
            f"{name!r} has no weights for {missing[0]} ({len(missing)} missing); it is a different kind of model"
        )
    model.eval()
    return model, tokenizer


def encoded(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    first: Sequence[str],
    second: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Padded tokens of texts or pairs as the model takes them, cut at its limit.

    Raises:
        InvalidData: for a text without any token.
    """
    limit = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None) or 10**9)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    batch = tokenizer(
        list(first),
        list(second) if second is not None else None,
        padding=True,
        truncation=True,
        max_length=limit,
        return_tensors="pt",
    )
    if not bool(batch["attention_mask"].any(-1).all()):  # pyright: ignore[reportAttributeAccessIssue]
        raise InvalidData("a text has no tokens and cannot be classified; leave out empty texts")
    return {k: v.to(model.device) for k, v in batch.items()}
