"""Log-probabilities of texts that are sent to servers: of completions, one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from decodelab.backends.address import Address
from decodelab.backends.asking import LARGEST
from decodelab.backends.client import Exchange, Request, Results
from decodelab.backends.completion import Refused, body_of, field
from decodelab.core.errors import RequestError, UnsupportedStrategy
from decodelab.metrics.likelihood import Alternative, Score

Pair = tuple[str, str]
"""A prompt and a completion."""


@runtime_checkable
class ScoresTexts(Protocol):
    """A model that tells the log-probabilities of texts, and shows no logits."""

    def scores(self, pairs: Sequence[Pair], alternatives: int = 0) -> Results[Score]:
        """The scores of completions after their prompts; each comes as it is there, or why there is none.

        Raises:
            UnsupportedStrategy: if it does not tell them.
            RequestError: for a completion without text, and a prompt without any, whose first token has none.
        """
        ...


def scoring(address: Address, pair: Pair, alternatives: int) -> Exchange[Score, Score]:
    """Have a server score a completion: our own on its route, others by echoing the text with log-probabilities.

    Raises:
        UnsupportedStrategy, RequestError: as `ScoresTexts.scores`.
    """
    prompt, completion = pair
    dialect = address.dialect
    if not dialect.echo:
        raise UnsupportedStrategy(
            f"{dialect.name}: {dialect.title} does not tell the log-probabilities of a text; use openai:, vllm:, "
            "sglang:, decodelab: or a local model"
        )
    if not completion or (not prompt and not dialect.whole):
        raise RequestError(f"{dialect.name}: a prompt and a completion are needed, got {pair!r:.60}; give both")
    if dialect.whole:
        body: dict[str, Any] = {"model": address.model, "prompt": prompt, "completions": [completion]}
        request = Request(
            f"{address.url}/score", body | {"top_logprobs": alternatives}, _our_own(prompt, completion), LARGEST
        )
    else:
        body = {"model": address.model, "prompt": prompt + completion, "max_tokens": 0, "echo": True}
        body |= {"temperature": 0.0, "logprobs": max(alternatives, 1)}
        request = Request(f"{address.url}/completions", body, _echoed(prompt, completion, alternatives), LARGEST)
    return _one(request)


def _one(request: Request[Score]) -> Exchange[Score, Score]:
    (reply,) = yield [request]
    return reply.value


def _our_own(prompt: str, completion: str) -> Callable[[bytes], Score]:
    def read(data: bytes) -> Score:
        try:
            (row,) = body_of(data, "score")["data"]
            tops = tuple(
                tuple(Alternative(int(a["token"]), str(a["text"]), float(a["logprob"])) for a in place)
                for place in row["top_logprobs"]
            )
            return Score(
                tuple(map(int, row["tokens"])), tuple(map(str, row["token_strs"])),
                tuple(map(float, row["token_logprobs"])), ranks=tuple(map(int, row["ranks"])), alternatives=tops,
                prompt=prompt, completion=completion,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError):
            raise Refused("transient", "sent an invalid response: no score") from None

    return read


def _echoed(prompt: str, completion: str, alternatives: int) -> Callable[[bytes], Score]:
    """Reads the tokens of the completion out of the tokens of the whole text."""

    def read(data: bytes) -> Score:
        body = body_of(data, "completion")
        choices = field(body, "choices")
        logprobs = field(choices[0] if isinstance(choices, list) and choices else None, "logprobs")
        texts, values, tops = (field(logprobs, name) for name in ("tokens", "token_logprobs", "top_logprobs"))
        if not isinstance(texts, list) or not isinstance(values, list) or len(texts) != len(values):
            raise Refused("alone", "does not echo a text with log-probabilities")
        whole = [str(text) for text in texts]
        begins, at = len(whole), 0
        lead = "".join(whole).find(prompt + completion)  # the name of a BOS token may stand before
        for number, text in enumerate(whole):
            if at >= lead + len(prompt):
                begins = number
                break
            at += len(text)
        if lead < 0 or at != lead + len(prompt):
            raise Refused("alone", "has a token across the border of prompt and completion; divide the text elsewhere")
        numbers = values[begins:]
        if not all(isinstance(value, int | float) for value in numbers):
            raise Refused("alone", "does not tell the log-probability of each token")
        shown = tops[begins:] if alternatives and isinstance(tops, list) else []
        return Score(
            (), tuple(whole[begins:]), tuple(map(float, numbers)), prompt=prompt, completion=completion,
            alternatives=tuple(_most_probable(place, alternatives) for place in shown),
        )  # fmt: skip

    return read


def _most_probable(place: Any, most: int) -> tuple[Alternative, ...]:
    """The most probable tokens at a place, whose ids are not shown."""
    items = place.items() if isinstance(place, Mapping) else ()
    known = [Alternative(-1, str(text), float(value)) for text, value in items if isinstance(value, int | float)]
    return tuple(sorted(known, key=lambda a: -a.logprob)[:most])
