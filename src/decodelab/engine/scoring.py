"""`score`: how probable a model finds given text."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from decodelab.core.errors import NonFiniteLogits, PromptTooLong, RequestError
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Prompt, Score, Tokens
from decodelab.engine.job import checked_ids, encode_prompt
from decodelab.models.loading import load


def score(model: LanguageModel | str, prompt: Prompt, completion: str | Sequence[int]) -> Score:
    """The log-probability of a completion after a prompt, token by token.

    Args:
        model: a model, or the name of one for `load`.
        prompt: text, token ids or a chat; empty text starts from BOS.
        completion: text or token ids; must have at least one token.

    Raises:
        RequestError: if the completion is empty.
        UnknownToken: if a token id is outside the vocabulary.
        PromptTooLong: if prompt and completion do not fit the context.
        NonFiniteLogits: if the model returns NaN or infinities.

    >>> import decodelab as dl
    >>> table = {(): {"a": 0.5, "b": 0.5}, ("a",): {"b": 0.25, "</s>": 0.75}}
    >>> round(dl.score(dl.TableModel(["a", "b"], table, bos="<s>"), "", "a b").logprob, 4)
    -2.0794
    """
    lm = load(model) if isinstance(model, str) else model
    return score_many(lm, [(prompt, completion)])[0]


def score_many(
    model: LanguageModel, pairs: Sequence[tuple[Prompt, str | Sequence[int]]], *, max_rows: int = 16
) -> list[Score]:
    """Score many (prompt, completion) pairs, `max_rows` at once; see `score`."""
    ready: list[tuple[str, Tokens, str, Tokens]] = []
    for prompt, completion in pairs:
        text, tokens = encode_prompt(model, prompt)
        if isinstance(completion, str):
            words, target = completion, model.vocab.encode_completion(tokens, completion)
        else:
            target = checked_ids(model, completion, "completion")
            words = model.vocab.decode_completion(tokens, target)
        if not target:
            raise RequestError(f"completion {words!r} has no tokens to score; give at least one")
        if model.context is not None and len(tokens) + len(target) > model.context + 1:
            raise PromptTooLong(
                f"prompt and completion have {len(tokens) + len(target)} tokens, "
                f"{model.name} holds {model.context}; shorten them"
            )
        ready.append((text, tokens, words, target))
    # Only completions of equal length share a batch: nothing but what was given is ever fed to the model.
    waiting = sorted(range(len(ready)), key=lambda i: (len(ready[i][3]), len(ready[i][1])))
    scores: dict[int, Score] = {}
    while waiting:
        length = len(ready[waiting[0]][3])
        rows = [i for i in waiting[:max_rows] if len(ready[i][3]) == length]
        waiting = waiting[len(rows) :]
        for i, logprobs in zip(rows, _batch(model, [(ready[i][1], ready[i][3]) for i in rows]), strict=True):
            text, _, words, target = ready[i]
            shown = tuple(model.vocab.token_text(t) for t in target)
            scores[i] = Score(target, shown, tuple(logprobs), prompt=text, completion=words)
    return [scores[i] for i in range(len(ready))]


def _batch(model: LanguageModel, pairs: Sequence[tuple[Tokens, Tokens]]) -> list[list[float]]:
    """Token log-probabilities of pairs with completions of one length, in one prefill and one extension."""
    logits, cache = model.start([prompt for prompt, _ in pairs])
    logits = logits[:, None].float().cpu()
    targets = torch.tensor([target for _, target in pairs])
    if targets.shape[1] > 1:
        rest, _ = model.extend(cache, targets[:, :-1])
        logits = torch.cat([logits, rest.float().cpu()], dim=1)
    normaliser = logits.logsumexp(-1)
    if not bool(normaliser.isfinite().all()):
        raise NonFiniteLogits(f"{model.name} returned NaN, +inf or only -inf as logits; check the weights")
    return (logits.gather(-1, targets[..., None])[..., 0].double() - normaliser.double()).tolist()
