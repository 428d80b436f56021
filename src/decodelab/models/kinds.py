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

_FOR = "decodelab measure takes encoders for embeddings and classifiers, best_of(by=reward(model=...)) reward models"


def refuse_other_kinds(where: str, config: Mapping[str, Any]) -> bool:
    """Refuse what is no causal and no sequence-to-sequence language model; returns whether it is the latter.

    Args:
        where: what errors call it.
        config: the configuration, as a dictionary.

    Raises:
        ModelError: for an architecture that transformers does not have, an encoder, or a head of another kind.
    """
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    )

    kind = _known(where, config)
    pair = is_encoder_decoder(config)
    if is_encoder(config):
        raise ModelError(
            f"model: {where} is of type {quoted(kind)}, an encoder: it reads texts and does not write them; "
            f"choose a causal or sequence-to-sequence language model ({_FOR})"
        )
    if kind not in (MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES if pair else MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        raise ModelError(f"model: {where} is of type {quoted(kind)}, which is not a language model; choose another")
    named = _saved_as(config)
    if named and all(name.endswith(_OTHER_HEADS) for name in named):
        raise ModelError(
            f"model: {where} was saved as {quoted(named[0])}, whose head does not predict the next token; "
            f"choose a causal or sequence-to-sequence language model ({_FOR})"
        )
    return pair


def refuse_other_heads(where: str, config: Mapping[str, Any]) -> bool:
    """Refuse what was not saved as a classifier of sequences or tokens; returns whether it is one of tokens.

    Raises:
        ModelError: for an architecture that transformers does not have, or another head.
    """
    _known(where, config)
    named = _saved_as(config)
    if any(name.endswith("ForSequenceClassification") for name in named):
        return False
    if any(name.endswith("ForTokenClassification") for name in named):
        return True
    raise ModelError(
        f"reward: {where} was saved as {quoted(named[0]) if named else 'a network without a head'}, which does not "
        "rate texts; take a ...ForSequenceClassification, or train one with decodelab train verifier"
    )


def _known(where: str, config: Mapping[str, Any]) -> str:
    """The type of an architecture that transformers has."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = config["model_type"]
    if kind not in CONFIG_MAPPING:
        why = "runs code of its own, which decodelab never does" if "auto_map" in config else "is not in transformers"
        raise ModelError(f"model: {where} is of type {quoted(kind)}, which {why}; use another model")
    return kind


def _saved_as(config: Mapping[str, Any]) -> list[str]:
    """The classes of networks that a configuration names."""
    heads = config.get("architectures")
    return [name for name in heads if isinstance(name, str)] if isinstance(heads, list) else []


def is_encoder(config: Mapping[str, Any]) -> bool:
    """Whether this is the configuration of an encoder: trained to fill gaps, and not switched to decoding."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    kind = config.get("model_type")
    return kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.get("is_decoder") and not is_encoder_decoder(config)
