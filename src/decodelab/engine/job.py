"""A job: one prompt under one strategy, ready to run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import index
from typing import SupportsIndex, cast

from decodelab.core.errors import EmptyPrompt, InvalidParameter, PromptTooLong, RequestError, TooLarge, UnknownToken
from decodelab.core.protocols import (
    Draw,
    EncoderDecoder,
    LanguageModel,
    LooksAhead,
    Reader,
    RewardModel,
    SpecialTokens,
)
from decodelab.core.stage import brief
from decodelab.core.values import Candidate, Chat, Limits, Prompt, Tokens
from decodelab.strategy.strategy import Strategy

MOST_ROWS = 65_536
"""Rows one job may have; far above any use, far below what exhausts the memory before a clear error."""


@dataclass(frozen=True)
class Part:
    """A job is part of another: a draw that its search over texts wants.

    Attributes:
        owner: the number of the other job, which observers are told.
        draw: what is drawn.
    """

    owner: int
    draw: Draw


@dataclass(frozen=True)
class Job:
    """One prompt under one strategy.

    Attributes:
        index: its number, the `index` of its generation.
        name: what errors call it.
        prompt: the prompt as text.
        tokens: its token ids, never empty.
        strategy: the resolved strategy.
        max_new_tokens: the limit, no more than the context allows.
        seed: the seed of its draws.
        limits: the limits it was asked for with.
        begin: of an encoder-decoder model, what its decoder begins with; else empty.
        first_sample: the index of its first sample, so that further samples of a prompt can be drawn without the first.
        read: how the task that asks reads an answer from a text, for its selection; None where no task asks.
        judge: the model that its selection asks instead of the one decoded; None for no other.
        rewards: the reward models that its scorers ask, by name.
        records_confidences: whether candidates keep their confidences though its selection does not read them.
        chat: the conversation that its prompt was made of, if it was one.
        part: of which job it is a part, and what it draws; None of a job that somebody asked for.
    """

    index: int
    name: str
    prompt: str
    tokens: Tokens
    strategy: Strategy
    max_new_tokens: int
    seed: int
    limits: Limits
    begin: Tokens = ()
    first_sample: int = 0
    read: Reader | None = None
    judge: LanguageModel | None = None
    rewards: Mapping[str, RewardModel] = field(default_factory=dict)
    records_confidences: bool = False
    chat: Chat | None = None
    part: Part | None = None

    @property
    def after(self) -> Candidate | None:
        """The answer so far, which its rows continue; None for an empty one."""
        return None if self.part is None else self.part.draw.after

    @property
    def written(self) -> Tokens:
        """The tokens of the answer so far."""
        return () if self.after is None else self.after.tokens

    @property
    def prefilled(self) -> Tokens:
        """The tokens computed before its first new one: those of the prompt and of the answer so far."""
        return self.tokens + self.written

    @property
    def confidences(self) -> bool:
        """Whether candidates keep their confidences."""
        return self.records_confidences or any(stage.reads_confidences() for stage in self.strategy.stages)

    @property
    def before(self) -> Tokens:
        """The tokens before the new ones: the prompt, or what the decoder of an encoder-decoder model begins with."""
        return self.begin or self.tokens

    @property
    def rows(self) -> int:
        """The most rows computed for it at once."""
        search, windowed = self.strategy.search, self.strategy.windowed
        if windowed is not None:
            return min(windowed.window, search.peak_rows)
        return cast(LooksAhead, search).looks_at if self.strategy.runner == "hidden_states" else search.peak_rows


def checked_ids(size: int, tokens: Iterable[SupportsIndex], what: str) -> Tokens:
    """Token ids, checked against the size of the vocabulary.

    Raises:
        RequestError: if they are not integers.
        UnknownToken: if one is outside the vocabulary.
    """
    try:
        ids = tuple(map(index, tokens))
    except TypeError:
        raise RequestError(f"{what} must be text or token ids, got {brief(tokens)}; give a str or integers") from None
    for token in ids:
        if not 0 <= token < size:
            raise UnknownToken(
                f"{what}: token ids must be in [0, {size - 1}], got {brief(token)}; is it another model's tokenizer?"
            )
    return ids


def encode_prompt(model: LanguageModel, prompt: Prompt, *, literal: bool = False) -> tuple[str, Tokens]:
    """A prompt's text and token ids; with `literal`, the names of special tokens in a text are text like any other.

    Raises:
        RequestError: if it is not text, ids or a chat, or a chat should be read literally.
        EmptyPrompt: if there are no tokens and the model has no BOS token.
        UnknownToken: if a token id is outside the vocabulary.
    """
    vocab = model.vocab
    if isinstance(prompt, str):
        text = prompt
        # A vocabulary that names no special tokens has nothing to read otherwise.
        tokens = vocab.encode_literal(text) if literal and isinstance(vocab, SpecialTokens) else vocab.encode(text)
    elif isinstance(prompt, Chat):
        if literal:
            raise RequestError("literal: a chat's template writes special tokens; give the prompt as text")
        text, tokens = vocab.render_chat(prompt)
    else:
        tokens = checked_ids(vocab.size, prompt, "prompt")
        text = vocab.decode(tokens)
    if not tokens:
        if vocab.bos_id is None:
            raise EmptyPrompt(
                f"prompt is empty and {model.name} has no BOS token to start from; give at least one token"
            )
        tokens = (vocab.bos_id,)
    return text, tokens


def make_job(
    model: LanguageModel,
    index: int,
    prompt: Prompt,
    strategy: Strategy,
    limits: Limits,
    seed: int,
    *,
    literal: bool = False,
    name: str | None = None,
) -> Job:
    """Check a prompt against the model and make a job of it; errors call it by its name, or else its index.

    Raises:
        PromptTooLong: if the context has no room for a new token.
    """
    name = f"prompt {index}" if name is None else name
    text, tokens = encode_prompt(model, prompt, literal=literal)
    room = limits.max_new_tokens
    chat = prompt if isinstance(prompt, Chat) else None
    if isinstance(model, EncoderDecoder):
        if model.longest_prompt is not None and len(tokens) > model.longest_prompt:
            raise PromptTooLong(
                f"{name} has {len(tokens)} tokens, {model.name} can read {model.longest_prompt}; shorten it"
            )
        room = room if model.longest_answer is None else min(room, model.longest_answer)
        return Job(index, name, text, tokens, strategy, room, seed, limits, model.begin, chat=chat)
    if model.context_length is not None:
        if len(tokens) >= model.context_length:
            raise PromptTooLong(
                f"{name} has {len(tokens)} tokens, {model.name} has context length {model.context_length}; "
                f"shorten it to at most {model.context_length - 1}"
            )
        room = min(room, model.context_length - len(tokens))
    return Job(index, name, text, tokens, strategy, room, seed, limits, chat=chat)


def check_counts(limits: Limits) -> None:
    """Refuse limits that no model can have.

    Raises:
        InvalidParameter: saying which and what is allowed.
    """
    if limits.max_new_tokens < 1:
        raise InvalidParameter(
            f"max_new_tokens must be at least 1, got {limits.max_new_tokens}; ask for at least one token"
        )
    if not 0 <= limits.min_new_tokens <= limits.max_new_tokens:
        raise InvalidParameter(
            f"min_new_tokens must be in [0, {limits.max_new_tokens}], got {limits.min_new_tokens}; "
            "keep it at most max_new_tokens"
        )
    if "" in limits.stop:
        raise InvalidParameter("stop strings must not be empty, got ''; leave the option out for none")


def check_limits(model: LanguageModel, limits: Limits) -> None:
    """Refuse invalid limits.

    Raises:
        InvalidParameter: saying which and what is allowed.
        UnknownToken: for a stop token outside the vocabulary.
    """
    check_counts(limits)
    if isinstance(model.vocab, SpecialTokens):
        specials = model.vocab.special_tokens
        for stop in limits.stop:
            held = [name for name in specials if name in stop and len(name) > 2]
            if held and stop not in specials:
                raise InvalidParameter(
                    f"stop strings must be text or the name of one special token, got {brief(stop)}, which holds "
                    f"{brief(held[0])}; special tokens are no part of the text: give that name alone"
                )
    for token in limits.stop_token_ids:
        if not 0 <= token < model.vocab.size:
            raise UnknownToken(f"stop_token_ids must be in [0, {model.vocab.size - 1}], got {token}; see the tokenizer")


def check_rows(job: Job, most: int = MOST_ROWS) -> None:
    """Refuse a job that asks for too many rows.

    Raises:
        InvalidParameter: saying how many are possible.
    """
    if job.rows > most:
        raise InvalidParameter(
            f"{job.strategy}: needs {job.rows} rows at once, but at most {most} are possible; ask for fewer"
        )


def check_memory(job: Job, needed: int, memory: int | None, what: str = "") -> None:
    """Refuse a job whose cache can never fit.

    Args:
        job: the job.
        needed: bytes its cache may come to hold.
        memory: bytes that are allowed; None for any.
        what: for what it needs them, if not for all of it.

    Raises:
        TooLarge: saying how much is needed and allowed.
    """
    if memory is not None and needed > memory:
        raise TooLarge(
            f"{job.name} under {job.strategy} may need {needed:,} bytes of cache{what}, "
            f"memory allows {memory:,}; ask for fewer rows or new tokens, or allow more"
        )
