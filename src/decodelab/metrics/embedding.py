"""Sentence embeddings from any directory or hub id of an encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from decodelab.core.errors import InvalidData
from decodelab.io.text import expanded
from decodelab.metrics.checks import Floats
from decodelab.metrics.classifier import encoded, load_encoder


class Embedder:
    """An encoder whose token vectors are pooled to one vector a text.

    Pooling is what a sentence-transformers directory says (`1_Pooling/config.json`: mean or CLS), else the mean over
    tokens, padding left out. Vectors are not normalised; what uses them (`pairwise_distance`, `mauve`) is.

    Raises:
        ModelNotFound: if there is no such directory or hub id.
        ModelFormatError: if it is not an encoder in safetensors, or has weights missing.
    """

    def __init__(self, name: str, *, batch: int = 32) -> None:
        from transformers import AutoModel

        self.name = name
        self.batch = batch
        self.model, self.tokenizer = load_encoder(name, AutoModel)
        self.cls = _pools_cls(expanded(name))

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Embed texts, float64 [texts, dimensions]; texts longer than the model holds are cut at its limit.

        Raises:
            InvalidData: for no texts, or an empty one.
        """
        import torch

        if not texts or not all(t.strip() for t in texts):
            raise InvalidData("an empty text has no embedding; leave empty texts out")
        rows: list[Floats] = []
        for begin in range(0, len(texts), self.batch):
            batch = encoded(self.model, self.tokenizer, texts[begin : begin + self.batch])
            with torch.inference_mode():
                hidden = self.model(**batch).last_hidden_state.double()
            mask = batch["attention_mask"].double()[..., None]
            pooled = hidden[:, 0] if self.cls else (hidden * mask).sum(1) / mask.sum(1)
            rows.append(pooled.cpu().numpy())
        return np.concatenate(rows)


def _pools_cls(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "1_Pooling" / "config.json").read_text()).get("pooling_mode_cls_token"))
    except (OSError, ValueError):
        return False
