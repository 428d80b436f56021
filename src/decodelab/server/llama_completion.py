"""llama-server's `/completion`: its requests as those of `/v1/completions`, and its answers, whole and in pieces."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from decodelab.core.errors import DecodelabError
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Generation
from decodelab.server.answers import Choice
from decodelab.server.errors import ApiError, invalid, naming
from decodelab.server.gbnf import GbnfFault, gbnf_to_lark
from decodelab.server.llama_parameters import LLAMA_PARAMETERS
from decodelab.server.serving import Work
from decodelab.server.settings import ServerSettings
from decodelab.server.watching import Grown, Place
from decodelab.strategy.llama_cpp import DEFAULTS, stages_from_llama_cpp
from decodelab.strategy.strategy import Strategy

_SETTINGS = tuple(p.name for p in LLAMA_PARAMETERS if p.role == "sampling" and p.name != "seed")
_THEIRS = {"max_tokens": "n_predict", "logprobs": "n_probs"}
"""What parameters of `/v1/completions` are called here."""


_DRAWN_SEEDS = (-1, 2**32 - 1)
"""Seeds that stand for any: -1 as a signed number of 32 bits, and as clients write it that have none of those."""


def completion_parameters(asked: Mapping[str, Any], model: LanguageModel, settings: ServerSettings) -> dict[str, Any]:
    """The parameters of a request as those of `/v1/completions`.

    Args:
        asked: what the request gives.
        model: the model that it names.
        settings: how much is taken.

    Raises:
        ApiError: 400, naming the parameter at fault.
    """
    try:
        stages = stages_from_llama_cpp({name: asked[name] for name in _SETTINGS if name in asked})
    except DecodelabError as error:
        raise naming(error, None, _SETTINGS) from error
    found: dict[str, Any] = {name: asked[name] for name in ("prompt", "stop", "stream", "ignore_eos") if name in asked}
    found["strategy"] = str(Strategy(tuple(stages)))
    n_predict = asked.get("n_predict", -1)
    if n_predict == 0:
        raise invalid("n_predict", "n_predict must be at least 1, or -1 for the rest of the context, got 0")
    room = min(model.context_length or 4096, settings.max_tokens)
    found["max_tokens"] = room if n_predict == -1 else n_predict
    if asked.get("seed", -1) not in _DRAWN_SEEDS:
        found["seed"] = asked["seed"]
    probabilities = asked.get("n_probs", 0)
    if probabilities > settings.max_logprobs:
        raise invalid("n_probs", f"n_probs must be at most {settings.max_logprobs}, got {probabilities}")
    if asked.get("post_sampling_probs") and not probabilities:
        raise invalid("post_sampling_probs", "post_sampling_probs needs n_probs of at least 1")
    if probabilities or asked.get("return_tokens"):
        found["logprobs"] = probabilities
    if asked.get("post_sampling_probs"):
        found["logprobs_of"] = "processed"
    if constraint := _constraint(asked):
        found["structured_outputs"] = constraint
    return found


def _constraint(asked: Mapping[str, Any]) -> dict[str, Any]:
    grammar, schema = asked.get("grammar", ""), asked.get("json_schema")
    if grammar and schema is not None:
        raise invalid("grammar", "grammar and json_schema are both given; give one")
    if schema is not None:
        return {"json": schema, "disable_any_whitespace": True}
    if not grammar:
        return {}
    try:
        return {"grammar": gbnf_to_lark(grammar)}
    except GbnfFault as fault:
        raise invalid("grammar", f"grammar: {fault}") from None


def in_their_words(error: ApiError, asked: Mapping[str, Any]) -> ApiError:
    """An error of `/v1/completions` with the names of the request."""
    constraint = "grammar" if asked.get("grammar") else "json_schema"
    ours = error.param or ""
    param = constraint if ours == "structured_outputs" else _THEIRS.get(ours, None if ours == "strategy" else ours)
    if param and error.message.startswith(ours):
        error.message = param + error.message.removeprefix(ours)
    error.param = param or None
    return error


@dataclass
class LlamaAnswer:
    """The answer to one request.

    Attributes:
        asked: the parameters of the request.
        work: what runs for it.
    """

    asked: Mapping[str, Any]
    work: Work

    async def document(self) -> dict[str, Any]:
        """The answer in one piece."""
        async for _ in self.work.heard():
            pass
        return self._last(self._choice.text, self._choice.places)

    async def pieces(self) -> AsyncIterator[list[dict[str, Any]]]:
        """The answer piece by piece, those that come together in a list; the last one says how it was made."""
        written, told = 0, ""
        async for messages in self.work.heard():
            found: list[dict[str, Any]] = []
            for _, message in messages:
                if isinstance(message, Grown):
                    written, told = written + len(message.places), told + message.text
                    found.append(self._head(message.text, message.places) | {"stop": False, **self._counts(written)})
            yield found
        rest = self._choice.text[len(told) :]
        places = self._choice.places[written:] if rest else ()
        if rest:
            yield [self._head(rest, places) | {"stop": False, **self._counts(written + len(places))}]
        yield [self._last("", ())]

    @property
    def _choice(self) -> Choice:
        return self.work.choices()[0]

    @property
    def _generation(self) -> Generation:
        return self.work.generations[0]

    def _counts(self, written: int) -> dict[str, int]:
        ((_, tokens),) = self.work.answer.prompts
        return {"tokens_predicted": written, "tokens_evaluated": len(tokens)}

    def _head(self, text: str, places: Iterable[Place]) -> dict[str, Any]:
        listed = list(places)
        ids = [place.token for place in listed] if self.asked.get("return_tokens") else []
        head: dict[str, Any] = {"index": 0, "content": text, "tokens": ids, "id_slot": -1}
        if self.asked.get("n_probs"):
            head["completion_probabilities"] = [self._place(place) for place in listed]
        return head

    def _place(self, place: Place) -> dict[str, Any]:
        after = self.asked.get("post_sampling_probs", False)
        top = [self._token(token, logprob) for token, logprob in place.top]
        return {**self._token(place.token, place.logprob), "top_probs" if after else "top_logprobs": top}

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        shown = {"id": token, **self.work.answer.token_json(token, logprob)}
        if self.asked.get("post_sampling_probs"):
            del shown["logprob"]
            shown["prob"] = math.exp(logprob)
        return shown

    def _last(self, text: str, places: Iterable[Place]) -> dict[str, Any]:
        """All that is told at the end."""
        answer, choice, generation = self.work.answer, self._choice, self._generation
        ((prompt, tokens),) = answer.prompts
        reason = generation.candidates[0].finish_reason
        kind = {"eos": "eos", "stop": "word", "length": "limit"}.get(reason, "none")
        written = len(choice.tokens)
        cached = max(0, len(tokens) - generation.cost.prefill_tokens)
        made = {name: value for name, value in DEFAULTS.items() if name != "n"}
        settings = made | {name: value for name, value in self.asked.items() if name not in ("prompt", "model")}
        return {
            **self._head(text, places),
            "stop": True, "model": answer.name, **self._counts(written),
            "generation_settings": settings | {"seed": self.work.plan.seed}, "prompt": prompt,
            "has_new_line": "\n" in choice.text, "truncated": False, "stop_type": kind,
            "stopping_word": choice.stop if isinstance(choice.stop, str) else "",
            "tokens_cached": len(tokens) + written,
            "timings": {"cache_n": cached, "prompt_n": len(tokens) - cached, "predicted_n": written},
            "decodelab": answer.about([choice], [generation]),
        }  # fmt: skip
