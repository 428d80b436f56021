"""Plain values for input and output: prompts, limits, candidates, generations, costs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Tokens = tuple[int, ...]
"""Token ids of one sequence."""

FinishReason = Literal["eos", "stop", "length", "pruned", "interrupted"]
"""Why a candidate ended: an end-of-sequence token, a stop string, stop token or stop stage, the token limit or the
context, cut off by its search while still unfinished, or Ctrl-C."""


@dataclass(frozen=True)
class Chat:
    """A prompt given as chat messages; the model's own chat template turns it into tokens.

    Attributes:
        messages: mappings with `role` and `content`, as the OpenAI and transformers APIs take them.
        tools: JSON-schema tool definitions the template may show to the model.
        tool_choice: the name of a tool that must be called: the assistant's turn is begun with the opening of its call
            as the template writes it. None leaves it to the model.
        add_generation_prompt: whether the template begins the assistant's turn after the messages.
        continue_final_message: whether the last message is continued, with nothing after its text, instead of
            beginning a turn; it replaces `add_generation_prompt`.
        chat_template_kwargs: further variables that the template reads, such as `enable_thinking`.

    >>> Chat.of("What is 2 + 3?").messages
    ({'role': 'user', 'content': 'What is 2 + 3?'},)
    """

    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @staticmethod
    def of(
        user: str, system: str | None = None, tools: Sequence[Mapping[str, Any]] = (), tool_choice: str | None = None
    ) -> Chat:
        """A chat of one user message, with a system message before it when given."""
        head = [{"role": "system", "content": system}] if system is not None else []
        return Chat((*head, {"role": "user", "content": user}), tuple(tools), tool_choice)

    def __str__(self) -> str:
        """The conversation for people to read; models get what their template makes of it.

        >>> print(Chat.of("2 + 3?", "Be brief."))
        [system] Be brief.
        [user] 2 + 3?
        """
        told = [f"[tool] {tool.get('function', tool).get('name')}" for tool in self.tools]
        if self.tool_choice is not None:
            told.append(f"[must call] {self.tool_choice}")
        return "\n".join([*told, *(f"[{message['role']}] {message.get('content')}" for message in self.messages)])


Prompt = str | Sequence[int] | Chat
"""Text, token ids (taken as they are, no BOS added), or a chat."""


def _exp(x: float) -> float:
    """e^x, infinite where that exceeds all floats."""
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _known_sum(logprobs: Sequence[float], text: str) -> float:
    """The sum of the log-probabilities of a text's tokens; NaN where a server does not show them."""
    return math.fsum(logprobs) if logprobs or not text else math.nan


@dataclass(frozen=True)
class Cost:
    """The cost of a generation.

    Shared work (a prompt prefilled for several candidates, a pass over a batch) is counted where it is
    done: `forward_tokens` counts every token position computed for this generation's rows, `forward_passes`
    the passes these rows took part in, `seconds` the wall clock from start to finish. Rows with identical tokens
    are computed once, also across jobs, but a token counts for each of them, so that what a strategy costs does not
    depend on what runs beside it.

    Attributes:
        draft_tokens: token positions computed by a draft model; they are not among the forward tokens.
        proposed: tokens that a proposer (a draft model or prompt lookup) proposed.
        accepted: how many of them the model chose too.
    """

    prefill_tokens: int = 0
    decode_tokens: int = 0
    forward_passes: int = 0
    peak_cache_bytes: int = 0
    seconds: float = 0.0
    draft_tokens: int = 0
    proposed: int = 0
    accepted: int = 0

    @property
    def forward_tokens(self) -> int:
        """All token positions the model computed: prefill and decode."""
        return self.prefill_tokens + self.decode_tokens

    @property
    def acceptance(self) -> float | None:
        """The share of proposals that were accepted; None where nothing was proposed."""
        return self.accepted / self.proposed if self.proposed else None


@dataclass(frozen=True)
class Confidences:
    """How sure the model itself was before each token, whatever token came: three numbers a token, in nats.

    Attributes:
        entropy: of its next-token distribution; low is sure.
        self_certainty: the divergence KL(uniform || distribution) over the tokens that it does not rule out; high is
            sure (Kang et al. 2025, Scalable best-of-n selection via self-certainty, section 3.2).
        top: minus the mean log-probability of the 20 most probable tokens; high is sure (Fu et al. 2025, Deep think
            with confidence, section 2).
    """

    entropy: tuple[float, ...]
    self_certainty: tuple[float, ...]
    top: tuple[float, ...]


@dataclass(frozen=True)
class Candidate:
    """One continuation of a prompt.

    Attributes:
        tokens: the generated ids, the terminating EOS included; empty where a server does not show them.
        text: the decoded continuation, special tokens left out, cut before a stop string.
        token_logprobs: log p of each token under the model itself, in nats; empty where a server does not show them.
        processed_logprobs: log p of each token under the processed distribution (after all processors), in
            nats; likewise.
        finish_reason: why it ended.
        sample: its sample index (or its rank among the hypotheses of a search).
        score: what the search or selection ranked it by.
        confidences: how sure the model was at each token; None where nobody asked for them.

    >>> c = Candidate((5, 6), "hi", (-0.5, -1.5), (-0.5, -1.5), "eos", 0, -2.0)
    >>> c.logprob, round(c.perplexity, 4)
    (-2.0, 2.7183)
    """

    tokens: Tokens
    text: str
    token_logprobs: tuple[float, ...]
    processed_logprobs: tuple[float, ...]
    finish_reason: FinishReason
    sample: int
    score: float
    confidences: Confidences | None = None

    @property
    def logprob(self) -> float:
        """Sum of the token log-probabilities under the model, in nats; NaN of a text where none is known."""
        return _known_sum(self.token_logprobs, self.text)

    @property
    def processed_logprob(self) -> float:
        """Sum of the token log-probabilities under the processed distribution, in nats; likewise."""
        return _known_sum(self.processed_logprobs, self.text)

    @property
    def perplexity(self) -> float:
        """Sequence perplexity exp(-logprob / tokens) under the model; NaN of no tokens, or where none is known."""
        return _exp(-self.logprob / len(self.token_logprobs)) if self.token_logprobs else math.nan


@dataclass(frozen=True)
class Certificate:
    """What a search proves about the hypotheses that it does not return.

    Attributes:
        proved: whether no hypothesis scores better than those returned.
        bound: no hypothesis other than those returned scores better than this; -inf when there is no other.
        evaluated: prefixes whose next-token distribution was computed, besides the prompt.
    """

    proved: bool
    bound: float
    evaluated: int


@dataclass(frozen=True)
class Generation:
    """Everything one prompt under one strategy gave, as plain data.

    Attributes:
        index: position of the prompt in the request.
        prompt: the prompt as text (a chat shows its rendered template).
        prompt_tokens: its token ids.
        candidates: the continuations, best first.
        cost: what it cost.
        seed: the seed of the request.
        strategy: the effective strategy, in the strategy language.
        model: the model's name.
        model_digest: digest of the model's weights and vocabulary.
        certificate: what the search knows of what it did not find; None of a search that knows nothing.
    """

    index: int
    prompt: str
    prompt_tokens: Tokens
    candidates: tuple[Candidate, ...]
    cost: Cost
    seed: int
    strategy: str
    model: str
    model_digest: str
    certificate: Certificate | None = None

    @property
    def best(self) -> Candidate:
        """The first candidate."""
        return self.candidates[0]

    @property
    def duplicates(self) -> tuple[tuple[int, ...], ...]:
        """Places of candidates that say the same text in different tokens, a tuple for each such text.

        Texts with a replacement character in them are left out: what stands for broken bytes may be different ones.
        """
        places: dict[str, list[int]] = {}
        for i, candidate in enumerate(self.candidates):
            if "\ufffd" not in candidate.text:
                places.setdefault(candidate.text, []).append(i)
        return tuple(tuple(same) for same in places.values() if len({self.candidates[i].tokens for i in same}) > 1)

    def to_dict(self) -> dict[str, Any]:
        """The generation as JSON-ready data, with the derived numbers of each candidate included."""
        data = dataclasses.asdict(self)
        data["duplicates"] = self.duplicates
        data["cost"]["forward_tokens"] = self.cost.forward_tokens
        data["cost"]["acceptance"] = self.cost.acceptance
        for row, candidate in zip(data["candidates"], self.candidates, strict=True):
            for name in ("logprob", "processed_logprob"):
                value = getattr(candidate, name)
                row[name] = None if math.isnan(value) else value
            row["perplexity"] = candidate.perplexity if candidate.token_logprobs else None
            if candidate.confidences is None:
                del row["confidences"]
        return data


@dataclass(frozen=True)
class Partial:
    """A continuation that may not be finished yet, for those who judge it by its text.

    Attributes:
        prompt: the prompt as text.
        prompt_tokens: its token ids.
        tokens: the generated ids so far.
        text: the decoded continuation, special tokens left out; an unfinished character at its end (up to 3 bytes) is
            left out too, and what begins with the stop string that ends it.
        complete: whether no unfinished character was left out.
    """

    prompt: str
    prompt_tokens: Tokens
    tokens: Tokens
    text: str
    complete: bool = True


@dataclass(frozen=True)
class Limits:
    """When a continuation has to end, and before when it must not.

    Attributes:
        max_new_tokens: most new tokens (the context may allow fewer).
        min_new_tokens: EOS, stop tokens, stop strings and stop stages are ignored before this many tokens.
        stop: strings that end a continuation; the text is cut before the first match.
        stop_token_ids: token ids that end a continuation.
        ignore_eos: EOS ends nothing and is a token like any other.
    """

    max_new_tokens: int = 128
    min_new_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
