"""A language model with a head that tells, after each token, how probably the text will turn out right."""

from __future__ import annotations

import shutil
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from decodelab.core.errors import InvalidParameter
from decodelab.core.quiet import quiet
from decodelab.train.verifier.data import Batch

LABELS = ("wrong", "right")
_RESIDUAL = ("o_proj.weight", "down_proj.weight")
"""What a block adds to its input by; zero, it adds nothing."""


@dataclass(frozen=True)
class Weights:
    """The weights of the parts of the loss, beside the mean verdict of all tokens.

    Attributes:
        last: of the verdict at the last token.
        language: of continuing right answers.
        doubt: of telling how probable each token was, and the least probable one so far, to the network itself.
    """

    last: float
    language: float
    doubt: float


class Verifier(nn.Module):
    """A causal language model of transformers, further blocks on top if asked for, and the head for the two labels.

    A further block begins as one that changes nothing: it sees what the model predicts at each place, and can learn to
    compare it with what follows. What it should compare is taught beside the verdict: how probable each token was to
    the network's own language model, and the least probable one so far (that head is not kept).

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
            self.doubt = nn.Linear(self.network.config.hidden_size, 2)
        self.requires_grad_(True)
        self.train()

    def loss(self, pairs: Batch, texts: Batch | None, weights: Weights) -> Tensor:
        """The loss of a batch, in nats.

        Args:
            pairs: right and wrong texts; each token of an answer predicts whether it is right (Cobbe et al. 2021).
            texts: right texts to continue; None for no language-model loss.
            weights: of its parts.
        """
        hidden = self._hidden(pairs)
        logits = self.head(hidden)
        label = pairs.right[:, None].expand(logits.shape[:2])
        losses = cross_entropy(logits.transpose(1, 2), label, reduction="none")
        loss = _mean(losses, pairs.differs) + weights.last * (losses * pairs.last).sum(1).mean()
        if weights.doubt:
            targets = self._doubts(hidden.detach(), pairs)
            doubts = binary_cross_entropy_with_logits(self.doubt(hidden), targets, reduction="none").mean(-1)
            loss = loss + weights.doubt * _mean(doubts, pairs.answer)
        if texts is None:
            return loss
        predicted = self.network.get_output_embeddings()(self._hidden(texts)[:, :-1])
        learnt = texts.answer[:, 1:]
        return loss + weights.language * cross_entropy(predicted[learnt], texts.tokens[:, 1:][learnt])

    @torch.no_grad()
    def _doubts(self, hidden: Tensor, pairs: Batch) -> Tensor:
        """The probability that the language model gives each token, and the least of an answer so far: [..., 2]."""
        predicted = self.network.get_output_embeddings()(hidden[:, :-1]).log_softmax(-1)
        own = predicted.gather(-1, pairs.tokens[:, 1:, None])[..., 0].exp()
        own = torch.cat([torch.ones_like(own[:, :1]), own], 1).masked_fill(~pairs.answer, 1.0)
        return torch.stack([own, own.cummin(1).values], -1)

    def _hidden(self, batch: Batch) -> Tensor:
        # Padding stands behind the texts, where a causal network does not see it.
        return self.network.base_model(input_ids=batch.tokens, use_cache=False).last_hidden_state

    def export(self, out: Path, tokenizer: Any) -> None:
        """Write a sequence classifier of transformers in bfloat16 and its tokenizer to a directory, each file whole."""
        from transformers import AutoModelForSequenceClassification

        partial = out / "partial"
        shutil.rmtree(partial, ignore_errors=True)

        config = deepcopy(self.network.config)
        config.id2label = dict(enumerate(LABELS))
        config.label2id = {label: i for i, label in enumerate(LABELS)}
        config.dtype = torch.bfloat16
        with torch.random.fork_rng(devices=[]), quiet():
            classifier: Any = AutoModelForSequenceClassification.from_config(config, dtype=torch.bfloat16)
            classifier.base_model.load_state_dict(self.network.base_model.state_dict())
            with torch.no_grad():
                classifier.score.weight.copy_(self.head.weight)
            classifier.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
        for file in partial.iterdir():
            file.chmod(0o644)
            file.replace(out / file.name)
        partial.rmdir()


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """The mean over the places of each text, and over texts."""
    counted = where.float()
    return ((values * counted).sum(1) / counted.sum(1)).mean()


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
