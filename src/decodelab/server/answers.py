"""From generations to the JSON of completions and chats, whole or in pieces."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from decodelab.core.protocols import ByteVocab, LanguageModel
from decodelab.core.thoughts import opens_thought
from decodelab.core.values import Candidate, FinishReason, Generation, Tokens
from decodelab.engine.detokenizer import Detokenizer
from decodelab.metrics.likelihood import Score
from decodelab.server.parameters import Route
from decodelab.server.thinking import Thinking, thought_places
from decodelab.server.translating import Plan
from decodelab.server.watching import Grown, Place, Searched, Watch

_REASONS: dict[FinishReason, str] = {"eos": "stop", "stop": "stop", "length": "length", "pruned": "length"}
_LEAST = -9999.0
"""The log-probability of what has none, as OpenAI's API gives it: JSON has no infinity."""


@dataclass(frozen=True)
class Choice:
    """One sequence of the answer.

    Attributes:
        index: its place in the answer.
        text: what it says, the prompt or a stop string included where they are wanted.
        places: the tokens that make up the text, where log-probabilities are wanted.
        starts: how many characters of the text stand before each.
        reason: why it ended, in the API's words.
        tokens: its ids.
        score: what its strategy ranked it by.
        stop: the stop string or stop token that ended it, if one did.
        candidate: what it was made of; None of a prompt alone.
    """

    index: int
    text: str
    places: tuple[Place, ...]
    starts: tuple[int, ...]
    reason: str
    tokens: Tokens
    score: float
    stop: str | int | None = None
    candidate: Candidate | None = None


@dataclass
class Answer:
    """The answer to one request, as it is put together.

    Attributes:
        route: where it was asked.
        plan: what was asked for.
        model: the model.
        name: what the request calls it.
        prompts: for each prompt its text and tokens.
        scores: of the prompts' tokens, where log-probabilities of them are shown.
    """

    route: Route
    plan: Plan
    model: LanguageModel
    name: str
    prompts: Sequence[tuple[str, Tokens]]
    scores: Sequence[Score | None] = ()
    id: str = ""
    _speeches: dict[int, Thinking] = field(default_factory=dict[int, Thinking])
    _held: dict[int, str] = field(default_factory=dict[int, str])
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        """Give it a name."""
        self.id = f"{'cmpl' if self.route == 'completions' else 'chatcmpl'}-{secrets.token_hex(12)}"

    def choices(self, prompt: int, generation: Generation | None, watch: Watch | None) -> list[Choice]:
        """The sequences of one prompt; without a generation, the prompt alone."""
        text, tokens = self.prompts[prompt]
        first = prompt * self.plan.shown.n
        if generation is None:
            return [Choice(first, text, *self._prompt_places(prompt), "length", (), 0.0)]
        shown = generation.candidates[: self.plan.shown.n]
        return [self._choice(first + i, prompt, tokens, candidate, watch) for i, candidate in enumerate(shown)]

    def _choice(self, index: int, prompt: int, before: Tokens, candidate: Candidate, watch: Watch | None) -> Choice:
        stop = self._stop(candidate, before)
        text = candidate.text + (stop if isinstance(stop, str) and self.plan.shown.stop_text else "")
        places: tuple[Place, ...] = ()
        starts: tuple[int, ...] = ()
        if self.plan.shown.top is not None and watch is not None:
            processed = self.plan.shown.source == "processed"
            logprobs = candidate.processed_logprobs if processed else candidate.token_logprobs
            found = list(watch.places(candidate.sample, candidate.tokens, logprobs))
            all_starts = _starts(self.model, watch.job.before, candidate.tokens)
            kept = [i for i, start in enumerate(all_starts) if start < len(text)]
            places, starts = tuple(found[i] for i in kept), tuple(all_starts[i] for i in kept)
        if self.plan.shown.echo:
            head, offsets = self._prompt_places(prompt)
            echoed = self.prompts[prompt][0]
            text, places = echoed + text, (*head, *places)
            starts = (*offsets, *(len(echoed) + start for start in starts))
        reason = _REASONS.get(candidate.finish_reason, "stop")
        return Choice(index, text, places, starts, reason, candidate.tokens, candidate.score, stop, candidate)

    def _stop(self, candidate: Candidate, before: Tokens) -> str | int | None:
        """The stop token or stop string that ended a sequence; of strings that end it at one place, the longest."""
        limits = self.plan.limits
        if candidate.finish_reason != "stop":
            return None
        if candidate.tokens[-1] in limits.stop_token_ids:
            return candidate.tokens[-1]
        whole = self.model.vocab.decode_completion(before, candidate.tokens)
        rest = whole[len(candidate.text) :]
        return max((s for s in limits.stop if rest.startswith(s)), key=len, default=None)

    def _prompt_places(self, prompt: int) -> tuple[tuple[Place, ...], tuple[int, ...]]:
        """The tokens of a prompt with their log-probabilities: the first has none."""
        score = self.scores[prompt] if self.scores else None
        if score is None or self.plan.shown.top is None:
            return (), ()
        _, tokens = self.prompts[prompt]
        starts = _starts(self.model, (), tokens)
        tops = score.alternatives or ((),) * len(score.tokens)
        rest = [
            Place(token, logprob, tuple((a.token, a.logprob) for a in top[: self.plan.shown.top]))
            for token, logprob, top in zip(score.tokens, score.token_logprobs, tops, strict=True)
        ]
        return (Place(tokens[0], float("nan"), ()), *rest), tuple(starts)

    # The whole answer.

    def document(self, choices: Sequence[Choice], generations: Sequence[Generation]) -> dict[str, Any]:
        """The answer in one piece."""
        kind = "text_completion" if self.route == "completions" else "chat.completion"
        return {
            **self._head(kind),
            "choices": [self._choice_json(choice) for choice in choices],
            **(self._prompt_logprobs(0) if self.route == "chat" else {}),
            "usage": self.usage(generations),
            "decodelab": self.about(choices, generations),
        }

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id, "object": kind, "created": self.created, "model": self.name,
            "system_fingerprint": self._fingerprint,
        }  # fmt: skip

    @cached_property
    def _fingerprint(self) -> str:
        return f"fp_{self.model.digest[:12]}"

    def _choice_json(self, choice: Choice) -> dict[str, Any]:
        logprobs = None if self.plan.shown.top is None else self._logprobs(choice.places, choice.starts)
        head = {
            "index": choice.index, "logprobs": logprobs, "finish_reason": choice.reason, "stop_reason": choice.stop
        }  # fmt: skip
        ids = {"token_ids": list(choice.tokens)} if self.plan.shown.token_ids else {}
        if self.route == "completions":
            return {"text": choice.text, **head, **ids, **self._prompt_logprobs(choice.index // self.plan.shown.n)}
        speech = self.speech(choice.index)
        thought, said = (a + b for a, b in zip(speech.push(choice.text), speech.finish(), strict=True))
        content, calls = self.plan.functions.read(said)
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
        if thought:
            message["reasoning_content"] = thought
        if calls:
            message["content"] = content or None
            message["tool_calls"] = [call.to_json() for call in calls]
            head["finish_reason"] = _called(choice.reason)
        return {"message": message, **head, **ids}

    def _prompt_logprobs(self, prompt: int) -> dict[str, Any]:
        """The log-probabilities of a prompt's tokens as vLLM gives them: a map from ids for each, none for the first.

        Each map has the token that is there and the most probable ones, with their ranks from 1 on.
        """
        wanted, (_, tokens) = self.plan.shown.prompt_top, self.prompts[prompt]
        if wanted is None:
            return {}
        listed: list[dict[str, Any] | None] = [None] * min(1, len(tokens))
        score = self.scores[prompt]
        if score is not None:
            tops = score.alternatives or ((),) * len(score.tokens)
            for token, logprob, rank, top in zip(score.tokens, score.token_logprobs, score.ranks, tops, strict=True):
                best = {a.token: (a.logprob, i) for i, a in enumerate(top[:wanted], start=1)}
                found = {token: (logprob, rank)} | {other: at for other, at in best.items() if other != token}
                listed.append({str(token): self._ranked(token, *at) for token, at in found.items()})
        return {"prompt_logprobs": listed}

    def _ranked(self, token: int, logprob: float, rank: int) -> dict[str, Any]:
        return {"logprob": _finite(logprob), "rank": rank, "decoded_token": _token_text(self.model, token)}

    def speech(self, index: int) -> Thinking:
        """What splits the text of a sequence of a chat into thoughts and content."""
        return Thinking(opens_thought(self.prompts[index // self.plan.shown.n][0]))

    def usage(self, generations: Sequence[Generation]) -> dict[str, Any]:
        """Tokens read and written; those of sequences that are not shown count as well."""
        read = sum(len(tokens) for _, tokens in self.prompts)
        written = sum(len(c.tokens) for g in generations for c in g.candidates)
        cached = sum(max(0, len(g.prompt_tokens) - g.cost.prefill_tokens) for g in generations)
        thoughts = sum(self._thought_tokens(g, c) for g in generations for c in g.candidates)
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": thoughts if self.route == "chat" else 0},
        }

    def _thought_tokens(self, generation: Generation, candidate: Candidate) -> int:
        """Tokens of a sequence's thoughts, their marks included."""
        places = thought_places(candidate.text, begun=opens_thought(generation.prompt))
        if not places:
            return 0
        starts = _starts(self.model, generation.prompt_tokens, candidate.tokens)
        return sum(any(first <= start < end for first, end in places) for start in starts)

    def about(self, choices: Sequence[Choice], generations: Sequence[Generation]) -> dict[str, Any]:
        """What was done: the stages in their order, the seed, and what it cost."""
        shown: dict[str, Any] = {"strategy": str(self.plan.strategy), "seed": self.plan.seed}
        shown["costs"] = [dataclasses.asdict(g.cost) | {"forward_tokens": g.cost.forward_tokens} for g in generations]
        shown["scores"] = [choice.score if abs(choice.score) < float("inf") else None for choice in choices]
        made = [choice.candidate for choice in choices if choice.candidate is not None]
        shown["samples"] = [candidate.sample for candidate in made]
        shown["finish_reasons"] = [candidate.finish_reason for candidate in made]
        if self.plan.shown.token_ids:
            for name in ("token_logprobs", "processed_logprobs"):
                shown[name] = [[_finite(value) for value in getattr(candidate, name)] for candidate in made]
            shown["prompt_token_ids"] = [list(tokens) for _, tokens in self.prompts]
        return shown

    def _logprobs(self, places: Iterable[Place], starts: Iterable[int]) -> dict[str, Any]:
        listed = list(places)
        if self.route == "chat":
            return {"content": [self._place_json(place) for place in listed], "refusal": None}
        texts = [_token_text(self.model, place.token) for place in listed]
        return {
            "tokens": texts,
            "token_logprobs": [_finite(place.logprob) for place in listed],
            "top_logprobs": [self._top_json(place) for place in listed] if self.plan.shown.top else None,
            "text_offset": list(starts),
        }

    def _top_json(self, place: Place) -> dict[str, float | None] | None:
        """The most probable tokens by their texts; the token itself is among them, as in OpenAI's API."""
        if place.logprob != place.logprob:
            return None
        top = {_token_text(self.model, token): _finite(logprob) for token, logprob in reversed(place.top)}
        return {**top, _token_text(self.model, place.token): _finite(place.logprob)}

    def _place_json(self, place: Place) -> dict[str, Any]:
        head = self.token_json(place.token, place.logprob)
        return {**head, "top_logprobs": [self.token_json(token, logprob) for token, logprob in place.top]}

    def token_json(self, token: int, logprob: float) -> dict[str, Any]:
        """A token with its text, log-probability and bytes."""
        data = _bytes(self.model, token)
        return {"token": _token_text(self.model, token), "logprob": _finite(logprob), "bytes": list(data)}

    # In pieces.

    def opening(self, index: int) -> dict[str, Any] | None:
        """The first piece of a sequence: of a chat, whose turn it is."""
        if self.route == "completions":
            return None
        self._speeches[index] = self.speech(index)
        return self._piece(index, {"role": "assistant", "content": ""})

    def echo(self, choice: Choice) -> Iterator[dict[str, Any]]:
        """The prompt as the first piece of a sequence."""
        return self.pieces(choice.index, Grown(0, choice.text, choice.places, choice.starts), 0)

    def pieces(self, index: int, grown: Grown, before: int) -> Iterator[dict[str, Any]]:
        """New text of a sequence, whose own text begins after so many characters."""
        starts = [before + start for start in grown.starts]
        logprobs = None if self.plan.shown.top is None else self._logprobs(grown.places, starts)
        if self.route == "completions":
            yield self._piece(index, {"content": grown.text}, logprobs=logprobs)
            return
        thought, said = self._speeches[index].push(grown.text)
        if thought:
            yield self._piece(index, {"reasoning_content": thought}, logprobs=logprobs)
            logprobs = logprobs and self._logprobs((), ())
        if said and self._calls:  # it may become a call
            self._held[index] = self._held.get(index, "") + said
            said = ""
        if said or grown.places:
            yield self._piece(index, {"content": said}, logprobs=logprobs)

    def closing(self, index: int, reason: str, stop: str | int | None = None) -> Iterator[dict[str, Any]]:
        """The last pieces of a sequence: what was held back, why it ended, and how it was made."""
        if self.route == "chat":
            thought, said = self._speeches.pop(index).finish()
            if thought:
                yield self._piece(index, {"reasoning_content": thought})
            content, calls = self.plan.functions.read(self._held.pop(index, "") + said)
            if content:
                yield self._piece(index, {"content": content})
            if calls:
                reason = _called(reason)
                listed = [call.to_json() | {"index": i} for i, call in enumerate(calls)]
                yield self._piece(index, {"tool_calls": listed})
        made = {"strategy": str(self.plan.strategy), "seed": self.plan.seed}
        yield self._piece(index, {}, reason=reason, stop_reason=stop) | {"decodelab": made}

    @property
    def _calls(self) -> bool:
        functions = self.plan.functions
        return bool(functions.names or functions.forced or functions.as_object)

    def _piece(
        self, index: int, delta: dict[str, Any], *, logprobs: Any = None, reason: str | None = None, **more: Any
    ) -> dict[str, Any]:
        head = {"index": index, "logprobs": logprobs, "finish_reason": reason, **more}
        said = {"text": delta.get("content", "")} if self.route == "completions" else {"delta": delta}
        return {**self._head(_PIECE[self.route]), "choices": [said | head]}

    def last(self, choices: Sequence[Choice], generations: Sequence[Generation]) -> dict[str, Any]:
        """The usage, after all pieces."""
        return {
            **self._head(_PIECE[self.route]),
            "choices": [],
            "usage": self.usage(generations),
            "decodelab": self.about(choices, generations),
        }

    def progress(self, prompt: int, step: Searched) -> dict[str, Any]:
        """A step of a search whose texts are known at its end: which row each continues, by which token."""
        rows = [
            {"parent": parent, "token": _token_text(self.model, token), "ended": ended}
            for parent, token, ended in zip(step.parents, step.tokens, step.ended, strict=True)
        ]
        return {
            **self._head("decodelab.progress"),
            "choices": [],
            "progress": {"prompt": prompt, "position": step.position, "rows": rows},
        }


_PIECE: dict[Route, str] = {"completions": "text_completion", "chat": "chat.completion.chunk"}


def _called(reason: str) -> str:
    """Why a sequence ended that calls functions."""
    return "tool_calls" if reason == "stop" else reason


def _finite(value: float) -> float | None:
    if value != value:
        return None
    return max(value, _LEAST)


def _bytes(model: LanguageModel, token: int) -> bytes:
    vocab = model.vocab
    return vocab.token_bytes(token) if isinstance(vocab, ByteVocab) else vocab.token_text(token).encode()


def _token_text(model: LanguageModel, token: int) -> str:
    """A token as a client shows it: its own text, or the name of a special one."""
    return _bytes(model, token).decode(errors="replace") or model.vocab.token_text(token)


def _starts(model: LanguageModel, before: Tokens, tokens: Sequence[int]) -> list[int]:
    """How many characters of the text stand before each token."""
    text, found = Detokenizer.after(before), list[int]()
    for token in tokens:
        found.append(len(text.settled))
        text = text.push(model.vocab, token)
    return found
