"""Routes about models and texts that generate nothing: models, tokens, scores."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Protocol

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field

from decodelab.core.errors import DecodelabError
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Prompt
from decodelab.engine.job import checked_ids, encode_prompt
from decodelab.engine.scoring import score_many
from decodelab.metrics.likelihood import Score
from decodelab.server.errors import api_error, invalid
from decodelab.server.messages import Message, chat_of
from decodelab.server.reading import unknown, validated
from decodelab.server.serving import Models, in_engine
from decodelab.server.settings import ServerSettings
from decodelab.server.transport import answered, read_body

_STRICT = ConfigDict(strict=True, extra="allow", json_schema_extra={"additionalProperties": False})
_Ids = list[Annotated[int, Field(ge=0, le=2**63 - 1)]]


class TokenizeRequest(BaseModel):
    """Text, or a conversation, to be read as tokens."""

    model_config = _STRICT
    model: str
    prompt: str | None = Field(None, description="The text, read as a prompt.")
    messages: list[Message] | None = Field(None, description="A conversation, instead.")
    return_token_strs: bool = Field(False, description="Whether to show the text of each token.")


class DetokenizeRequest(BaseModel):
    """Token ids to be read as text."""

    model_config = _STRICT
    model: str
    tokens: _Ids


class ScoreRequest(BaseModel):
    """Completions whose log-probabilities are asked for."""

    model_config = _STRICT
    model: str
    prompt: str | _Ids = Field(description="What the completions follow, as text or token ids.")
    completions: Annotated[list[str | _Ids], Field(min_length=1, max_length=4096)] = Field(
        description="Texts or token ids."
    )
    top_logprobs: Annotated[int, Field(ge=0)] = Field(0, description="Most probable tokens to show at each place.")


class Add(Protocol):
    """Adds a route."""

    def __call__(self, path: str, handler: Callable[[Request], Awaitable[Response]], method: str = "GET") -> None:
        """Add it."""
        ...


def add_text_routes(add: Add, models: Models, settings: ServerSettings) -> None:
    """Add the routes to an application."""
    since = int(time.time())

    async def listed(request: Request) -> Response:
        """The models served."""
        data = [_model_json(name, engine.model, since) for name, engine in models.engines.items()]
        return answered({"object": "list", "data": data})

    async def one(request: Request) -> Response:
        """One of the models served."""
        name = request.path_params["name"]
        return answered(_model_json(name, models[name].model, since))

    async def tokenize(request: Request) -> Response:
        """The tokens of a text or a conversation."""
        asked: Any = _read(TokenizeRequest, await read_body(request, settings.max_body))
        if (asked.prompt is None) == (asked.messages is None):
            raise invalid("prompt", "give either prompt or messages")
        model = models[asked.model].model
        try:
            prompt: Prompt = asked.prompt if asked.messages is None else chat_of(asked.messages, [])
            _, tokens = encode_prompt(model, prompt)
        except DecodelabError as error:
            raise api_error(error) from error
        found = {"count": len(tokens), "max_model_len": model.context_length, "tokens": list(tokens)}
        texts = {"token_strs": [model.vocab.token_text(t) for t in tokens]} if asked.return_token_strs else {}
        return answered(found | texts)

    async def detokenize(request: Request) -> Response:
        """The text of token ids."""
        asked: Any = _read(DetokenizeRequest, await read_body(request, settings.max_body))
        model = models[asked.model].model
        try:
            tokens = checked_ids(model.vocab.size, asked.tokens, "tokens")
        except DecodelabError as error:
            raise api_error(error) from error
        return answered({"prompt": model.vocab.decode(tokens)})

    async def score(request: Request) -> Response:
        """The log-probabilities of completions after a prompt, under the model itself."""
        asked: Any = _read(ScoreRequest, await read_body(request, settings.max_body))
        if asked.top_logprobs > (most := settings.max_logprobs):
            raise invalid("top_logprobs", f"top_logprobs must be at most {most}, got {asked.top_logprobs}")
        pairs = [(asked.prompt, completion) for completion in asked.completions]
        scores: Sequence[Score] = await in_engine(
            models[asked.model], lambda model: score_many(model, pairs, alternatives=asked.top_logprobs)
        )
        data = [_score_json(i, s) for i, s in enumerate(scores)]
        return answered({"object": "list", "model": asked.model, "data": data})

    add("/v1/models", listed)
    add("/v1/models/{name}", one)
    add("/tokenize", tokenize, "POST")
    add("/detokenize", detokenize, "POST")
    add("/v1/score", score, "POST")


def _read(model: type[BaseModel], body: bytes) -> BaseModel:
    found = validated(model, body)
    if found.model_extra:
        raise unknown(next(iter(found.model_extra)), model.model_fields)
    return found


def _model_json(name: str, model: LanguageModel, since: int) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": since,
        "owned_by": "decodelab",
        "max_model_len": model.context_length,
        "vocab_size": model.vocab.size,
        "digest": model.digest,
    }


def _score_json(index: int, score: Score) -> dict[str, Any]:
    return {
        "index": index,
        "logprob": score.logprob,
        "is_greedy": score.is_greedy,
        "tokens": list(score.tokens),
        "token_strs": list(score.token_texts),
        "token_logprobs": list(score.token_logprobs),
        "ranks": list(score.ranks),
        "top_logprobs": [
            [{"token": a.token, "text": a.text, "logprob": a.logprob} for a in top] for top in score.alternatives
        ],
    }
