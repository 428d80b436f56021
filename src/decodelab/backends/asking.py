"""From what a strategy wants written to requests of a server, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from decodelab.backends.address import Address
from decodelab.backends.client import Request
from decodelab.backends.continuations import Continuation, Continued, reader
from decodelab.backends.rounds import Wanted, Written
from decodelab.backends.translating import limited, put, sampling
from decodelab.core.errors import RequestError, UnsupportedStrategy
from decodelab.core.values import Chat, Limits, Prompt
from decodelab.search.sample import Sample
from decodelab.strategy.strategy import Strategy

LARGEST = 2**26
"""At most this many bytes of a response are read: a thousand texts with log-probabilities are some megabytes."""


@dataclass(frozen=True)
class Asking:
    """How one strategy is asked of one server.

    Attributes:
        address: of the server.
        drawn: how tokens are drawn: the strategy without what this process does itself.
        sampling: what requests say of that.
        limits: of an answer.
        seed: of the draws.
        logprobs: whether log-probabilities are asked for.
    """

    address: Address
    drawn: Strategy
    sampling: Mapping[str, Any]
    limits: Limits
    seed: int
    logprobs: bool

    @staticmethod
    def of(address: Address, strategy: Strategy, limits: Limits, seed: int, *, whole: bool = False) -> Asking:
        """How a strategy is asked of a server; as it is written, with `whole`, of a server that takes it so.

        Raises:
            UnsupportedStrategy: naming the stage that cannot be asked for, and who could do it.
        """
        dialect = address.dialect
        reads = any(s.reads_logprobs() for s in strategy.stages if s.kind in ("selection", "driver"))
        if reads and dialect.logprobs == "never":
            raise UnsupportedStrategy(f"{dialect.name}: {strategy.stages[-1]} needs log-probabilities; use vllm:")
        if limits.min_new_tokens and strategy.in_rounds is not None and not whole:
            raise UnsupportedStrategy(
                f"{dialect.name}: min_new_tokens would hold for each step of {strategy.search_stage}; leave it out"
            )
        drawn = strategy if whole else _drawn(strategy)
        asked = {} if dialect.whole else sampling(dialect, strategy)
        limited(dialect, limits, chat=False)
        shown = dialect.logprobs == "always" or (dialect.logprobs == "where read" and reads)
        return Asking(address, drawn, asked, limits, seed, shown)

    def requests(self, wanted: Wanted) -> list[Request[Continued]]:
        """What asks a server for continuations: one request, or one for each where it takes no `n`."""
        if wanted.n == 1 or self.address.dialect.n is not None:
            return [self.request(wanted, wanted.n)]
        return [self.request(replace(wanted, n=1, first=wanted.first + i), 1) for i in range(wanted.n)]

    def written(self, wanted: Wanted, responses: Sequence[Continued]) -> list[Written]:
        """What servers wrote, as those who want it take it."""
        found: list[Written] = []
        for response in responses:
            for one in response.continuations:
                tokens = _tokens(one, response)
                kept = one if wanted.mark is None or self.address.dialect.says_stop else one.until(wanted.mark)
                if kept is not one:
                    tokens = len(kept.logprobs) or ceil(tokens * len(kept.text + kept.stop) / len(one.text))
                found.append(Written(kept.text + kept.stop, max(tokens, 1), kept.ended, kept.ids, kept.logprobs))
        return found

    def body(self, wanted: Wanted) -> dict[str, Any]:
        """A request as it is sent.

        Raises:
            RequestError: for a prompt that the server cannot be given.
            UnsupportedStrategy: for a turn of a chat that it cannot continue.
        """
        dialect, prompt = self.address.dialect, wanted.prompt
        chat = isinstance(prompt, Chat)
        body: dict[str, Any] = {"model": self.address.model}
        if isinstance(prompt, Chat):
            body |= self._messages(prompt, wanted.begun)
        else:
            body["prompt"] = self._text(prompt, wanted.begun)
        form = dialect.chat if chat else dialect.text
        settings = "options." if form == "ollama" else ""
        for name, value in self._drawing(wanted).items():
            put(body, name, dict(value) if isinstance(value, dict) else value)
        limits = replace(self.limits, max_new_tokens=wanted.max_tokens)
        for name, value in limited(dialect, limits, chat=chat).items():
            if isinstance(value, dict):  # of Ollama
                body.setdefault(name, {}).update(value)
            else:
                body[name] = value
        stop = [s for s in wanted.stop if s != wanted.mark or dialect.says_stop or s in self.limits.stop]
        if stop:
            put(body, f"{settings}stop", stop)
        if not self.drawn.deterministic:
            put(body, f"{settings}seed", (self.seed + wanted.first) % 2**dialect.seed)
        if form == "ollama":
            body |= {"stream": False} | ({} if chat else {"raw": True})
        if self.logprobs:
            name, value = ("n_probs", 1) if form == "llama" else ("logprobs", True if chat or form == "ollama" else 1)
            body[name] = value
        return {**body, **(dialect.token_ids or {})}

    def request(self, wanted: Wanted, n: int | None) -> Request[Continued]:
        """One request for n continuations; None takes as many as come."""
        chat = isinstance(wanted.prompt, Chat)
        form = self.address.dialect.chat if chat else self.address.dialect.text
        url = {
            ("openai", False): f"{self.address.url}/completions",
            ("openai", True): f"{self.address.url}/chat/completions",
            ("llama", False): f"{self.address.root}/completion",
            ("ollama", False): f"{self.address.root}/api/generate",
            ("ollama", True): f"{self.address.root}/api/chat",
        }[form, chat]
        return Request(url, self.body(wanted), reader(form, n, chat=chat), LARGEST)

    def _drawing(self, wanted: Wanted) -> Mapping[str, Any]:
        """What a request says of how tokens are drawn, and how often."""
        dialect = self.address.dialect
        if dialect.whole:
            strategy = _with_n(self.drawn, wanted.n)
            return {"strategy": str(strategy), "n": strategy.search.n}
        return {**self.sampling, **({dialect.n: wanted.n} if wanted.n > 1 and dialect.n is not None else {})}

    def _messages(self, chat: Chat, begun: str) -> dict[str, Any]:
        if chat.tools or chat.tool_choice is not None:
            raise RequestError("tools are not sent to servers; leave them out, or use a local model")
        messages = [dict(turn) for turn in chat.messages]
        if not begun:
            return {"messages": messages}
        dialect = self.address.dialect
        if dialect.turn is None:
            raise UnsupportedStrategy(
                f"{dialect.name}: {dialect.title} cannot continue a turn of a chat that has begun; give the prompt as "
                "text, or use vllm:, sglang:, llama:, ollama: or a local model"
            )
        return {"messages": [*messages, {"role": "assistant", "content": begun}], **dialect.turn}

    def _text(self, prompt: Prompt, begun: str) -> Any:
        if isinstance(prompt, str):
            return prompt + begun
        if self.address.dialect.token_ids is None or begun:
            raise RequestError(f"{self.address.dialect.name}: give the prompt as text: token ids cannot be sent here")
        return [int(token) for token in prompt]  # pyright: ignore[reportGeneralTypeIssues]  (chats are elsewhere)


def _tokens(one: Continuation, response: Continued) -> int:
    """How many tokens a continuation has, or its share of those of all."""
    known = len(one.ids) or len(one.logprobs)
    if known or response.completion_tokens is None:
        return known
    length = sum(len(c.text) for c in response.continuations)
    return ceil(response.completion_tokens * len(one.text) / length) if length else response.completion_tokens


def _drawn(strategy: Strategy) -> Strategy:
    """How a server draws for a strategy: without a selection and a driver, and by sampling where texts are searched."""
    stages = [s for s in strategy.stages if s.kind not in ("driver", "selection")]
    if strategy.in_rounds is not None:
        stages = [s for s in stages if s.kind != "search"]
        if not stages:
            stages = [Sample()]
    return Strategy(tuple(stages))


def _with_n(strategy: Strategy, n: int) -> Strategy:
    """A strategy with that many samples."""
    stages: Any = strategy.stages
    return Strategy(tuple(replace(s, n=n) if s.samples_by_index else s for s in stages))
