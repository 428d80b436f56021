"""What servers send: continuations of a text or a chat, with what they say of themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from decodelab.backends.completion import Refused, body_of, count, number, plain_text, was_cut
from decodelab.backends.completion import field as at
from decodelab.backends.dialects import Form
from decodelab.core.values import Tokens

Ended = Literal["end", "stop", "length"]


@dataclass(frozen=True)
class Continuation:
    """A continuation as a server sent it.

    Attributes:
        text: without the stop string that ended it.
        ended: by itself, by a stop string that the server names, or by the limit of tokens.
        stop: that stop string.
        ids, logprobs, pieces: of its tokens their ids, log-probabilities and texts; empty where they are not shown.
    """

    text: str
    ended: Ended
    stop: str = ""
    ids: Tokens = ()
    logprobs: tuple[float, ...] = ()
    pieces: tuple[str, ...] = ()

    def until(self, mark: str) -> Continuation:
        """Its beginning up to a mark, that included, if there is one; its tokens up to the one that completes it."""
        place = self.text.find(mark)
        if place < 0:
            return self
        kept, tokens, length = self.text[: place + len(mark)], 0, 0
        if "".join(self.pieces).startswith(self.text):
            while length < len(kept):
                length += len(self.pieces[tokens])
                tokens += 1
        return replace(
            self, text=kept[: -len(mark)], ended="stop", stop=mark, ids=self.ids[:tokens],
            logprobs=self.logprobs[:tokens], pieces=self.pieces[:tokens],
        )  # fmt: skip


@dataclass(frozen=True)
class Continued:
    """A response.

    Attributes:
        continuations: in order.
        prompt_tokens, completion_tokens: as the server counted them; None where it did not. Tokens of the prompt that
            it had computed before are not among them, where it says so.
        model, fingerprint: what the server says of itself; empty where it says nothing.
        prompt_ids: the token ids of the prompt; empty where they are not shown.
        about: what our own server says of the strategy.
    """

    continuations: tuple[Continuation, ...]
    prompt_tokens: int | None
    completion_tokens: int | None
    model: str = ""
    fingerprint: str = ""
    prompt_ids: Tokens = ()
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])


def reader(form: Form, n: int | None, *, chat: bool) -> Callable[[bytes], Continued]:
    """What reads n continuations from the body of a response, or as many as come.

    What it returns raises `Refused`: for what is no response of that form, and for continuations that were filtered,
    broken off, or are fewer than were asked for.
    """
    read = {"openai": _openai, "llama": _llama, "ollama": _ollama}[form]

    def whole(data: bytes) -> Continued:
        found = read(body_of(data, "completion"), chat)
        if not found.continuations or (n is not None and len(found.continuations) != n):
            raise Refused("alone", f"sent {len(found.continuations)} of {n or 'some'} sequences: it does not take n")
        return found

    return whole


def _openai(body: Any, chat: bool) -> Continued:
    choices = at(body, "choices")
    if not isinstance(choices, list):
        raise Refused("transient", "sent an invalid response: no completion (choices)")
    usage = at(body, "usage")
    cached = count(at(at(usage, "prompt_tokens_details"), "cached_tokens")) or 0
    prompt = count(at(usage, "prompt_tokens"))
    about = at(body, "decodelab")
    return Continued(
        tuple(_choice(choice, chat) for choice in choices),
        None if prompt is None else max(prompt - cached, 0),
        count(at(usage, "completion_tokens")),
        _name(at(body, "model")),
        _name(at(body, "system_fingerprint")),
        _ids(next(iter(_list(at(about, "prompt_token_ids"))), None)),
        about if isinstance(about, Mapping) else {},
    )


def _choice(choice: Any, chat: bool) -> Continuation:
    said = at(at(choice, "message"), "content") if chat else at(choice, "text")
    message = at(choice, "message") if chat else choice
    text = plain_text(said) if isinstance(message, Mapping) else None
    if text is None:
        raise Refused("transient", "sent an invalid response: no completion (text)")
    cut = was_cut(str(at(choice, "finish_reason") or ""), plain_text(at(message, "refusal")) or "")
    stop = at(choice, "stop_reason") or at(choice, "matched_stop")
    stop = stop if isinstance(stop, str) else ""
    logprobs = at(choice, "logprobs")
    if chat:
        entries = _list(at(logprobs, "content"))
        pieces, values = [at(entry, "token") for entry in entries], [at(entry, "logprob") for entry in entries]
    else:
        pieces, values = _list(at(logprobs, "tokens")), _list(at(logprobs, "token_logprobs"))
    ended: Ended = "length" if cut else "stop" if stop else "end"
    return Continuation(text, ended, stop, _ids(at(choice, "token_ids")), *_shown(values, pieces))


def _llama(body: Any, chat: bool) -> Continued:
    text = plain_text(at(body, "content"))
    if text is None or not isinstance(body, Mapping):
        raise Refused("transient", "sent an invalid response: no completion (content)")
    kind, stop = at(body, "stop_type"), at(body, "stopping_word")
    ended: Ended = "length" if kind == "limit" else "stop" if kind == "word" else "end"
    entries = _list(at(body, "completion_probabilities"))
    shown = _shown([at(entry, "logprob") for entry in entries], [at(entry, "token") for entry in entries])
    found = Continuation(text, ended, stop if ended == "stop" and isinstance(stop, str) else "", (), *shown)
    return Continued(
        (replace(found, ids=_ids(at(body, "tokens"))),),
        count(at(body, "tokens_evaluated")),
        count(at(body, "tokens_predicted")),
        _name(at(body, "model")),
    )


def _ollama(body: Any, chat: bool) -> Continued:
    said = at(at(body, "message"), "content") if chat else at(body, "response")
    text = plain_text(said)
    if text is None or said is None:
        raise Refused("transient", "sent an invalid response: no completion (response)")
    ended: Ended = "length" if was_cut(str(at(body, "done_reason") or "")) else "end"
    entries = _list(at(body, "logprobs"))
    shown = _shown([at(entry, "logprob") for entry in entries], [at(entry, "token") for entry in entries])
    counted = count(at(body, "prompt_eval_count")), count(at(body, "eval_count"))
    return Continued((Continuation(text, ended, "", (), *shown),), *counted, _name(at(body, "model")))


def _shown(values: Sequence[Any], pieces: Sequence[Any]) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Log-probabilities and texts of tokens; none where one of them is no number, or no text."""
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool) and v <= 1e-3]
    texts = [piece for piece in pieces if isinstance(piece, str)]
    whole = len(numbers) == len(values) and all(math.isfinite(v) for v in numbers)
    return (tuple(numbers) if whole else ()), (tuple(texts) if whole and len(texts) == len(numbers) else ())


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _ids(value: Any) -> Tokens:
    found = [number(one) for one in _list(value)]
    return () if None in found else tuple(one for one in found if one is not None)


def _name(value: Any) -> str:
    return value[:200] if isinstance(value, str) else ""
