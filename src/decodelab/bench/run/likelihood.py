"""Answers that are chosen by likelihood among the options of an item, stored like those that are generated."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from decodelab.bench.records import Answer, key_of, limits_text
from decodelab.core.errors import DecodelabError
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Chat, Limits, Tokens
from decodelab.engine.job import encode_prompt
from decodelab.tasks.choices import LIKELIHOOD, Choice, Preference, prefer

_AT_ONCE = 16
_LIMITS = limits_text(Limits())


def choice_key(model: LanguageModel, choice: Choice, tokens: Tokens) -> str:
    """The unique key of the answer to a question with options, whose prompt has these tokens."""
    return key_of(model.digest, _strategy(choice), tokens, 0, 0, Limits())


def as_chat(choice: Choice) -> Choice:
    """The question through the chat template, where an answer begins without a space."""
    prompt = choice.prompt if isinstance(choice.prompt, Chat) else Chat.of(str(choice.prompt))
    return replace(choice, prompt=prompt, options=tuple(option.lstrip() for option in choice.options))


def choose(model: LanguageModel, choices: Sequence[tuple[str, Choice]]) -> Iterator[Answer | DecodelabError]:
    """Answer questions, each given with its key, in their order; an error where there is no answer.

    In an answer, `token_logprobs` are the model's own; in `processed_logprobs` the first token carries the logarithm of
    the confidence, as the option is chosen as a whole. Questions computed together share the seconds.
    """
    for begin in range(0, len(choices), _AT_ONCE):
        part = choices[begin : begin + _AT_ONCE]
        start = time.perf_counter()
        try:
            found: list[Preference | DecodelabError] = list(prefer(model, [choice for _, choice in part]))
        except DecodelabError:
            # One of them; the others have answers.
            found = [_alone(model, choice) for _, choice in part]
        seconds = (time.perf_counter() - start) / len(part)
        for (key, choice), each in zip(part, found, strict=True):
            yield _answer(model, key, choice, each, seconds) if isinstance(each, Preference) else each


def _alone(model: LanguageModel, choice: Choice) -> Preference | DecodelabError:
    try:
        return prefer(model, [choice])[0]
    except DecodelabError as error:
        return error


def _strategy(choice: Choice) -> str:
    return f"{LIKELIHOOD}(options={json.dumps(choice.options)})"


def _answer(model: LanguageModel, key: str, choice: Choice, found: Preference, seconds: float) -> Answer:
    best = found.scores[found.best]
    text, prompt = encode_prompt(model, choice.prompt)
    longest = max(len(score.tokens) for score in found.scores)
    return Answer(
        key=key,
        model=model.name,
        model_digest=model.digest,
        strategy=_strategy(choice),
        prompt=text,
        sample=0,
        seed="0",
        limits=_LIMITS,
        text=choice.options[found.best],
        tokens=best.tokens,
        token_logprobs=best.token_logprobs,
        processed_logprobs=(math.log(found.confidence), *[0.0] * (len(best.tokens) - 1)),
        finish_reason="stop",
        prompt_tokens=len(prompt),
        prefill_tokens=len(prompt),
        # The last token of an option is not fed.
        decode_tokens=sum(len(score.tokens) - 1 for score in found.scores),
        forward_passes=1 if longest == 1 else 2,
        peak_cache_bytes=model.cache_bytes(len(prompt), len(found.scores), longest),
        seconds=seconds,
    )
