"""Strategies on somebody else's server: a model that continues texts and shows no logits."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from hashlib import blake2b
from typing import Any, cast, get_args

import anyio

from decodelab.backends.asking import Asking
from decodelab.backends.client import Client, Exchange, Replied, Results, Sleep
from decodelab.backends.continuations import Continued
from decodelab.backends.rounds import Found, Texts, Wanted, search_texts
from decodelab.backends.scoring import Pair, scoring
from decodelab.backends.texts import TextJob
from decodelab.core.errors import DecodelabError, EmptySupport, NoReply, UnsupportedStrategy
from decodelab.core.key import Keys
from decodelab.core.protocols import Draw, ModelScorer, Question, Rounds
from decodelab.core.values import Candidate, Chat, Cost, FinishReason, Generation, Limits, Prompt
from decodelab.engine.faults import blamed
from decodelab.engine.runners.windows import check_windows, windows
from decodelab.metrics.likelihood import Score
from decodelab.models.loading import load
from decodelab.scorers.catalogue import find_scorer
from decodelab.strategy.strategy import Strategy


class RemoteModel:
    """A model that a server runs: it continues texts and chats under strategies that need nothing else.

    A strategy is translated exactly or refused. Selections, `until` and searches over texts run in this process; our
    own server (`decodelab:`) is sent every strategy that can be written down. Requests, retries and keys are those of
    `Client`.

    Args:
        name: `openai:http://HOST:PORT/v1#MODEL`, or with another dialect (`vllm:`, `sglang:`, `llama:`, `ollama:`,
            `decodelab:`).
        at_once: requests under way at most.
        timeout: seconds after which a request is retried.
        sleep: how to wait for a number of seconds.

    Raises:
        RequestError: for an invalid name or key.

    >>> model = RemoteModel("vllm:http://127.0.0.1:8000/v1#tiny")
    >>> job = TextJob(0, "1 + 1 =", Strategy.of("top_k=5 | sample(n=2)"), Limits(max_new_tokens=8))
    >>> print(model.request(job).splitlines()[0])
    POST http://127.0.0.1:8000/v1/completions
    """

    def __init__(self, name: str, *, at_once: int = 8, timeout: float = 300.0, sleep: Sleep = anyio.sleep) -> None:
        self._client = Client(name, at_once=at_once, timeout=timeout, sleep=sleep)
        self.name = name
        self.address = self._client.address
        self.digest = blake2b(f"server {name}".encode(), digest_size=16).hexdigest()

    def check(self, strategy: Strategy, limits: Limits) -> None:
        """Refuse what the server cannot be asked for, without asking it anything.

        Raises:
            UnsupportedStrategy: naming the stage, and who could do it.
        """
        self._asking(TextJob(0, "", strategy, limits))

    def request(self, job: TextJob) -> str:
        """The first request of a job: its address, and its body as JSON."""
        whole = self._takes_whole(job)
        asking = self._asking(job)
        wanted = _whole(job) if whole else next(_texts(job))[0]
        request = asking.requests(wanted)[0]
        return f"POST {request.url}\n{json.dumps(request.body, indent=2, ensure_ascii=False)}"

    def generations(self, jobs: Sequence[TextJob]) -> Results[Generation]:
        """Continue prompts; one that the server refuses fails alone.

        Raises:
            UnsupportedStrategy: before anything is asked.
            EndpointFailed: when the server refuses all, or still fails after all tries; other results come before.
        """
        ready = [self._exchange(job, self._asking(job)) for job in jobs]
        return self._client.run(ready)

    def scores(self, pairs: Sequence[Pair], alternatives: int = 0) -> Results[Score]:
        """The log-probabilities of completions after their prompts.

        Raises:
            UnsupportedStrategy: if servers of this kind do not tell them.
            RequestError: for an empty text.
        """
        return self._client.run([scoring(self.address, pair, alternatives) for pair in pairs])

    def _asking(self, job: TextJob) -> Asking:
        check_windows(job.strategy)
        whole = self._takes_whole(job)
        if not whole:
            _check_asks(self.address.dialect.name, job.strategy)
        return Asking.of(self.address, job.strategy, job.limits, job.seed, whole=whole)

    def _takes_whole(self, job: TextJob) -> bool:
        """Whether the server does all of a job: not where answers are read by what only this process has."""
        strategy = job.strategy
        alone = strategy.selection is None and strategy.windowed is None and strategy.in_rounds is None
        return self.address.dialect.whole and (alone or (job.read is None and _can_be_written(strategy)))

    def _exchange(self, job: TextJob, asking: Asking) -> Exchange[Continued, Generation]:
        if self._takes_whole(job):
            return self._asked_whole(job, asking)
        return self._drawn_here(job, asking)

    def _asked_whole(self, job: TextJob, asking: Asking) -> Exchange[Continued, Generation]:
        """What our own server makes of a strategy."""
        replies = yield [asking.request(_whole(job), None)]
        reply = replies[0].value
        return self._generation(job, _candidates(reply, job.first), replies, _cost(reply, replies[0].seconds))

    def _drawn_here(self, job: TextJob, asking: Asking) -> Exchange[Continued, Generation]:
        """What this process makes of continuations that the server writes."""
        began, replies, texts = time.perf_counter(), list[Replied[Continued]](), _texts(job)
        wanted = next(texts)
        while True:
            requests = [asking.requests(one) for one in wanted]
            new = yield [request for some in requests for request in some]
            replies += new
            rest = iter(new)
            written = [
                asking.written(one, [next(rest).value for _ in some])
                for one, some in zip(wanted, requests, strict=True)
            ]
            try:
                wanted = texts.send(written)
            except StopIteration as end:
                found: Found = end.value
                break
        candidates = _selected(job, found)
        prompt = sum(reply.value.prompt_tokens or 0 for reply in replies)
        decoded = sum(reply.value.completion_tokens or 0 for reply in replies)
        cost = Cost(prefill_tokens=prompt, decode_tokens=decoded, seconds=time.perf_counter() - began)
        return self._generation(job, candidates, replies, cost)

    def _generation(
        self, job: TextJob, candidates: Sequence[Candidate], replies: Sequence[Replied[Continued]], cost: Cost
    ) -> Generation:
        last = replies[-1].value
        said = " ".join(filter(None, (last.model, last.fingerprint)))
        effective = last.about.get("strategy")
        strategy = effective if isinstance(effective, str) and self._takes_whole(job) else str(job.strategy)
        hidden = self._client.hidden
        told = tuple(replace(c, text=hidden(c.text)) for c in candidates)
        return Generation(
            job.index, shown(job.prompt), last.prompt_ids, told, cost, job.seed, strategy, self.name, hidden(said)
        )


def _texts(job: TextJob) -> Texts:
    """What is to be written for a job, round after round."""
    return search_texts(_rounds(job, replace(_question(job), model=None)), job.prompt, job.limits)


def _rounds(job: TextJob, question: Question) -> Rounds:
    """What a job draws, round after round: its samples are one round."""
    strategy = job.strategy
    if strategy.windowed is not None:
        return windows(strategy.windowed, strategy.windowed.window, strategy.search.n, question)
    if strategy.in_rounds is not None:
        return strategy.in_rounds.rounds(question, job.limits)
    return _samples(strategy.search.n, job.first)


def _samples(n: int, first: int) -> Rounds:
    (drawn,) = yield [Draw(n, first)]
    return [(one.candidate, one.candidate.score) for one in drawn]


def _selected(job: TextJob, found: Found) -> list[Candidate]:
    """The candidates as the selection of their job ranks them."""
    ranked = job.strategy.in_rounds is not None
    candidates = [
        replace(candidate, score=float(score), sample=rank if ranked else candidate.sample)
        for rank, (candidate, score) in enumerate(found)
    ]
    selection = job.strategy.selection
    if not candidates:
        raise EmptySupport(f"{job.strategy.search_stage} found no text; {job.strategy.search_stage.if_empty}")
    if selection is None:
        return candidates
    with blamed(selection):
        return [replace(c, score=score) for c, score in selection.rank(candidates, _question(job))]


def _question(job: TextJob) -> Question:
    """What the candidates of a job continue; randomness comes from its text, as nobody here knows its tokens."""
    text, judge = shown(job.prompt), job.strategy.judge
    keys = Keys.of(job.seed, tuple(text.encode("utf-8", "surrogatepass")), [job.first])
    model = load(judge) if isinstance(judge, str) else judge
    return Question(text, (), keys, model, job.read, job.prompt if isinstance(job.prompt, Chat) else None)


def shown(prompt: Prompt) -> str:
    """A prompt as text."""
    return str(prompt) if isinstance(prompt, str | Chat) else " ".join(str(token) for token in prompt)


def _check_asks(dialect: str, strategy: Strategy) -> None:
    """Refuse what asks the model that is decoded, or reads what only its logits tell.

    Raises:
        UnsupportedStrategy: naming the stage.
    """
    for stage in strategy.stages:
        scorer = stage.asks_scorer()
        asks = scorer is not None and isinstance(find_scorer(scorer), ModelScorer)
        chooses = stage.kind in ("selection", "driver")
        if asks or (chooses and stage.asks_model() and strategy.judge is None):
            why = "it asks the model itself"
        elif chooses and stage.reads_confidences():
            why = "it needs the whole distribution at each token"
        else:
            continue
        raise UnsupportedStrategy(
            f"{dialect}: {stage} cannot be computed here: {why}; use a scorer of texts, decodelab: or a local model"
        )


def _can_be_written(strategy: Strategy) -> bool:
    """Whether a strategy is the same after it has been sent as text, and runs no programs."""
    if any(stage.runs_programs for stage in strategy.stages):
        return False
    try:
        return Strategy.of(str(strategy)) == strategy
    except DecodelabError:
        return False


def _whole(job: TextJob) -> Wanted:
    """What our own server is asked for: all samples up to the last that is wanted."""
    n = job.strategy.search.n
    if job.strategy.search_stage.samples_by_index and job.strategy.selection is None:
        n += job.first
    return Wanted(job.prompt, "", n, 0, job.limits.stop, job.limits.max_new_tokens)


def _candidates(reply: Continued, first: int) -> list[Candidate]:
    """The candidates of our own server's answer, from a sample on.

    Raises:
        NoReply: if it is none.
    """
    about, found = reply.about, list[Candidate]()
    columns = ("samples", "finish_reasons", "scores", "token_logprobs", "processed_logprobs")
    try:
        rows = zip(reply.continuations, *(about[name] for name in columns), strict=True)
        for one, sample, reason, score, logprobs, processed in rows:
            if reason not in get_args(FinishReason):
                raise ValueError(reason)
            value = -math.inf if score is None else float(score)
            own, other = tuple(map(float, logprobs)), tuple(map(float, processed))
            if int(sample) >= first:
                found.append(Candidate(one.ids, one.text, own, other, cast(FinishReason, reason), int(sample), value))
    except (KeyError, TypeError, ValueError):
        raise NoReply("the server is no decodelab server of this version; use openai: instead of decodelab:") from None
    return found


def _cost(reply: Continued, seconds: float) -> Cost:
    """What our own server says that an answer cost, but for the seconds, which are ours."""
    costs = reply.about.get("costs")
    said: Any = costs[0] if isinstance(costs, list) and costs and isinstance(costs[0], Mapping) else {}
    counts = {f.name: said[f.name] for f in fields(Cost) if f.name != "seconds" and isinstance(said.get(f.name), int)}
    return Cost(**counts, seconds=seconds)
