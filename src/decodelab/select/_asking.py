"""Asking a model which of a few options it would answer, by their log-probabilities: nothing has to be parsed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from decodelab.core.errors import NoChatTemplate, PromptTooLong
from decodelab.core.protocols import PAD, LanguageModel, SpecialTokens
from decodelab.core.values import Chat, Tokens

if TYPE_CHECKING:
    from torch import Tensor

_MOST_TOKENS = 16_384
"""Tokens of questions that are computed together, at most, unless one question alone has more."""


def options_asked(model: LanguageModel, questions: Sequence[str], lead: str, options: Sequence[str]) -> Tensor:
    """The log-probability that a model answers a question with each option: float64 [questions, options], in nats.

    A model with a chat template gets the question as a user's turn; of any other, `Answer:` follows the question. Names
    of special tokens in a question are text. An option counts with and without a space before it, in lower case and
    capitalised, as whole token sequences; the probabilities of these forms are added up.

    Args:
        model: that is asked.
        questions: as text.
        lead: how the answer begins, before the option; may be empty.
        options: of which no one begins with another.

    Raises:
        PromptTooLong: if the model's context does not hold a question.
    """
    encode = _encoder(model, lead)
    asked = [encode(question) for question in questions]
    forms, owners = _forms(model, asked[0], options)
    longest = max(map(len, forms))
    for tokens in asked:
        if model.context_length is not None and len(tokens) + longest > model.context_length:
            raise PromptTooLong(
                f"a question to the judge has {len(tokens)} tokens, {model.name} holds {model.context_length}; ask "
                "about fewer or shorter candidates at once, or take another judge"
            )
    found = torch.cat([_forms_answered(model, some, forms) for some in _batches(asked)])
    every = torch.full((len(asked), len(options)), -torch.inf, dtype=torch.float64)
    for option in range(len(options)):
        own = [form for form, owner in enumerate(owners) if owner == option]
        every[:, option] = found[:, own].logsumexp(1)
    return every


def _encoder(model: LanguageModel, lead: str) -> Callable[[str], Tokens]:
    """What turns a question into tokens, up to where an option follows."""
    vocab = model.vocab
    try:
        vocab.render_chat(Chat.of("?"))
    except NoChatTemplate:
        encode = vocab.encode_literal if isinstance(vocab, SpecialTokens) else vocab.encode
        return lambda question: encode(f"{question}\nAnswer:{' ' if lead else ''}{lead}")

    def rendered(question: str) -> Tokens:
        _, tokens = vocab.render_chat(Chat.of(question))
        return (*tokens, *vocab.encode_completion(tokens, lead)) if lead else tokens

    return rendered


def _forms(model: LanguageModel, before: Tokens, options: Sequence[str]) -> tuple[list[Tokens], list[int]]:
    """The token sequences that stand for options, and the option of each."""
    found: dict[Tokens, int] = {}
    for number, option in enumerate(options):
        for form in (option, option.lower(), option.capitalize()):
            for space in (" ", ""):
                tokens = model.vocab.encode_completion(before, space + form)
                if tokens:
                    found.setdefault(tokens, number)
    return list(found), list(found.values())


def _batches(questions: Sequence[Tokens]) -> Iterator[Sequence[Tokens]]:
    """Questions one after the other, as many at once as are computed together."""
    begin = longest = 0
    for number, tokens in enumerate(questions):
        longest = max(longest, len(tokens))
        if number > begin and longest * (number + 1 - begin) > _MOST_TOKENS:
            yield questions[begin:number]
            begin, longest = number, len(tokens)
    yield questions[begin:]


def _forms_answered(model: LanguageModel, questions: Sequence[Tokens], forms: Sequence[Tokens]) -> Tensor:
    """The log-probability of each form after each question: float64 [questions, forms]."""
    logits, cache = model.prefill(questions)
    first = torch.tensor([form[0] for form in forms])
    found = logits.cpu().double().log_softmax(-1)[:, first]
    several = [number for number, form in enumerate(forms) if len(form) > 1]
    if not several:
        return found
    rows = torch.arange(len(questions)).repeat_interleave(len(several))
    longest = max(len(forms[number]) for number in several)
    padded = torch.tensor([[*forms[number], *[PAD] * (longest - len(forms[number]))] for number in several])
    padded = padded.repeat(len(questions), 1)
    rest, _ = model.decode(cache.select(rows), padded[:, :-1])
    following = padded[:, 1:]
    more = rest.cpu().double().log_softmax(-1).gather(-1, following.clamp(min=0)[..., None])[..., 0]
    found[:, several] += more.masked_fill(following == PAD, 0).sum(1).view(len(questions), len(several))
    return found
