"""Which kind of a model a configuration describes, and whether such a model writes text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from decodelab.core.errors import ModelError, quoted
from decodelab.models.checkpoint import is_encoder_decoder

_OTHER_HEADS = (
    "ForMaskedLM", "ForPreTraining", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering",
    "ForMultipleChoice", "ForNextSentencePrediction", "ForImageClassification", "ForAudioClassification",
    "EncoderModel", "ForRewardModeling", "ForReward",
)  # fmt: skip
"""How the classes of networks end whose heads do not predict a next token."""

_FOR = "decodelab measure takes encoders for embeddings and classifiers"


def refuse_other_kinds(where: str, config: Mapping[str, Any]) -> bool:
    """Refuse what is no causal and no sequence-to-sequence language model; returns whether it is the latter.

    Args:
        where: what errors call it.
        config: the configuration, as a dictionary.

    Raises:
        ModelError: for an architecture that transformers does not have, an encoder, or a head of another kind.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    )

    kind = config["model_type"]
    if kind not in CONFIG_MAPPING:
        why = "runs code of its own, which decodelab never does" if "auto_map" in config else "is not in transformers"
        raise ModelError(f"model: {where} is of type {quoted(kind)}, which {why}; use another model")
    pair = is_encoder_decoder(config)
    if is_encoder(config):
        raise ModelError(
            f"model: {where} is of type {quoted(kind)}, an encoder: it reads texts and does not write them; "
            f"choose a causal or sequence-to-sequence language model ({_FOR})"
        )
    if kind not in (MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES if pair else MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        raise ModelError(f"model: {where} is of type {quoted(kind)}, which is not a language model; choose another")
    heads = config.get("architectures")
    named = [name for name in heads if isinstance(name, str)] if isinstance(heads, list) else []
    if named and all(name.endswith(_OTHER_HEADS) for name in named):
        raise ModelError(
            f"model: {where} was saved as {quoted(named[0])}, whose head does not predict the next token; "
            f"choose a causal or sequence-to-sequence language model ({_FOR})"
        )
    return pair


def is_encoder(config: Mapping[str, Any]) -> bool:
    """Whether this is the configuration of an encoder: trained to fill gaps, and not switched to decoding."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    kind = config.get("model_type")
    return kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.get("is_decoder") and not is_encoder_decoder(config)
