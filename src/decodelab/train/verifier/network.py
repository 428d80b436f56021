"""A language model with a head that tells, after each token, how probably the text will turn out right."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from decodelab.core.errors import InvalidParameter
from decodelab.core.quiet import quiet
from decodelab.train.verifier.data import Batch

LABELS = ("wrong", "right")
_RESIDUAL = ("o_proj.weight", "down_proj.weight")
"""What a block adds to its input by; zero, it adds nothing."""


class Verifier(nn.Module):
    """A causal language model of transformers, further blocks on top if asked for, and the head for the two labels.

    A further block begins as one that changes nothing: it sees what the model predicts at each place, and can learn to
    compare it with what follows.

    Args:
        network: the language model.
        layers: how many further blocks.
        seed: of their weights and of the head.

    Raises:
        InvalidParameter: for further blocks on a network that is not built as Llama is.
    """

    def __init__(self, network: Any, layers: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]), quiet():
            # Modules are initialised from the global generator only; it is put back at once.
            torch.manual_seed(seed)  # noqa: TID251
            self.network = _deeper(network, layers) if layers else network
            self.head = nn.Linear(self.network.config.hidden_size, len(LABELS), bias=False)
        self.requires_grad_(True)
        self.train()

    def loss(self, pairs: Batch, texts: Batch | None, last: float, language: float) -> Tensor:
        """The loss of a batch, in nats.

        Args:
            pairs: right and wrong texts; each token of an answer predicts whether it is right (Cobbe et al. 2021).
            texts: right texts to continue; None for no language-model loss.
            last: the weight of the last token beside the mean of all.
            language: the weight of the language-model loss.
        """
        logits = self.head(self._hidden(pairs))
        label = pairs.right[:, None].expand(logits.shape[:2])
        losses = cross_entropy(logits.transpose(1, 2), label, reduction="none")
        answer = pairs.answer.float()
        loss = ((losses * answer).sum(1) / answer.sum(1)).mean() + last * (losses * pairs.last).sum(1).mean()
        if texts is None:
            return loss
        predicted = self.network.get_output_embeddings()(self._hidden(texts)[:, :-1])
        learnt = texts.answer[:, 1:]
        return loss + language * cross_entropy(predicted[learnt], texts.tokens[:, 1:][learnt])

    def _hidden(self, batch: Batch) -> Tensor:
        # Padding stands behind the texts, where a causal network does not see it.
        return self.network.base_model(input_ids=batch.tokens, use_cache=False).last_hidden_state

    def export(self, out: Path, tokenizer: Any) -> None:
        """Write a sequence classifier of transformers in bfloat16 to a directory, and its tokenizer."""
        from transformers import AutoModelForSequenceClassification

        config = deepcopy(self.network.config)
        config.id2label = dict(enumerate(LABELS))
        config.label2id = {label: i for i, label in enumerate(LABELS)}
        config.dtype = torch.bfloat16
        with torch.random.fork_rng(devices=[]), quiet():
            classifier: Any = AutoModelForSequenceClassification.from_config(config, dtype=torch.bfloat16)
            classifier.base_model.load_state_dict(self.network.base_model.state_dict())
            with torch.no_grad():
                classifier.score.weight.copy_(self.head.weight)
            classifier.save_pretrained(out)
            tokenizer.save_pretrained(out)


def _deeper(network: Any, layers: int) -> Any:
    """The network with further blocks on top, which add nothing yet."""
    config = deepcopy(network.config)
    config.num_hidden_layers = getattr(config, "num_hidden_layers", 0) + layers
    deeper = type(network)(config)
    given = network.state_dict()
    added = {name: value for name, value in deeper.state_dict().items() if name not in given}
    residual = [name for name in added if name.endswith(_RESIDUAL)]
    if len(residual) != layers * len(_RESIDUAL):
        raise InvalidParameter(
            f"verifier: layers must be 0 for {config.model_type}, whose blocks are built otherwise, got {layers}"
        )
    deeper.load_state_dict(given | {name: torch.zeros_like(v) if name in residual else v for name, v in added.items()})
    return deeper
