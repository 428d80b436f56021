"""The error tree. Every error a user can cause says what, got, allowed and the fix in one line.

DecodelabError
├── StrategyError                 the strategy itself is wrong
│   ├── StrategySyntaxError       the text does not parse
│   ├── UnknownStage              no such algorithm (with a suggestion)
│   ├── UnknownParameter          no such parameter (with a suggestion)
│   ├── InvalidParameter          a value out of range or of the wrong type
│   └── UnsupportedStrategy       valid, but this model or back end does not support a stage of it
├── RequestError                  the request around the strategy is wrong
│   ├── EmptyPrompt               nothing to condition on and no BOS token to start from
│   ├── PromptTooLong             the prompt leaves no room in the model's context
│   ├── NoChatTemplate            a chat for a model that knows no turns
│   ├── TooLarge                  a job whose cache can never fit the memory allowed
│   └── UnknownToken              text that the model's vocabulary cannot represent
├── ModelError                    the model cannot be used
│   ├── ModelNotFound             no such name, directory or hub id
│   ├── ModelFormatError          a directory that is broken, incomplete or unsafe
│   ├── EndpointFailed            a server refused, was unreachable, or sent an invalid response
│   ├── NoReply                   a server gave no usable reply to one conversation; the others continue
│   ├── ForwardFailed             a forward pass raised (for example, out of memory); the other jobs continue
│   ├── NonFiniteLogits           the model returned NaN, +inf or only -inf
│   ├── MalformedLogits           the model returned logits of another shape than rows and vocabulary
│   └── VocabularyMismatch        two models (or a model and logits) of different vocabularies
├── EmptySupport                  a chain of processors removed every token
├── StageFailed                   a stage raised an error of its own; the other jobs continue
├── EngineStopped                 an engine was used after an exception had ended a step halfway
├── ConstraintBroken              a text matched a constraint's grammar but not the constraint itself
├── CheckerFailed                 a checker raised, or returned no verdict (invalid, prefix or complete)
├── ScorerFailed                  a scorer raised, or did not return one finite number per text
├── UtilityFailed                 a utility raised, or did not return a finite number
├── InvalidData                   numbers or texts that a metric is not defined on (also a ValueError)
├── WorkerLost                    the workers of a sweep died one after the other
├── JournalError                  a journal of runs that cannot be read or written
├── SandboxMissing                there is no sandbox to run programs in
└── OutputError                   a path that cannot be written
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from decodelab.core.glossary import called_here, option_called


class DecodelabError(Exception):
    """The base of decodelab's errors; its text is one line for the user."""


class StrategyError(DecodelabError):
    """The strategy is wrong."""


class StrategySyntaxError(StrategyError):
    """The text of a strategy does not parse."""


class UnknownStage(StrategyError):
    """A strategy names an algorithm that does not exist."""


class UnknownParameter(StrategyError):
    """A stage was given a parameter it does not have."""


class InvalidParameter(StrategyError):
    """A parameter has a value of the wrong type or outside its range."""


class UnsupportedStrategy(StrategyError):
    """The strategy is valid but not supported here."""


class RequestError(DecodelabError):
    """The request around the strategy (prompt, limits, options) is wrong."""


class EmptyPrompt(RequestError):
    """The prompt has no tokens and the model has no BOS token to start from."""


class PromptTooLong(RequestError):
    """The prompt leaves no room for a new token in the model's context."""


class NoChatTemplate(RequestError):
    """A chat for a model that has no chat template."""


class TooLarge(RequestError):
    """A job whose cache can never fit the memory allowed."""


class UnknownToken(RequestError):
    """Text or a token id that the vocabulary does not contain."""


class ModelError(DecodelabError):
    """The model cannot be used."""


class ModelNotFound(ModelError):
    """No model of that name, directory or hub id."""


class ModelFormatError(ModelError):
    """A model directory that is incomplete, damaged or in an unsafe format."""


class EndpointFailed(ModelError):
    """A server refused the request, could not be reached, or sent an invalid response."""


class NoReply(ModelError):
    """A server refused one conversation, or its reply to it cannot be used."""


class ForwardFailed(ModelError):
    """A forward pass raised an error."""


class NonFiniteLogits(ModelError):
    """The model returned NaN, +inf or nothing but -inf as logits."""


class MalformedLogits(ModelError):
    """The model returned logits of a wrong shape."""


class VocabularyMismatch(ModelError):
    """Two sides that must share a vocabulary do not."""


class EmptySupport(DecodelabError):
    """A stage left no token to choose from."""


class StageFailed(DecodelabError):
    """A stage raised an error that is none of decodelab's."""


class EngineStopped(DecodelabError):
    """An exception ended a step of the engine halfway, and it was used again."""


class ConstraintBroken(DecodelabError):
    """A text that a constraint's grammar allowed is not valid, and cannot become so."""


class CheckerFailed(DecodelabError):
    """A checker raised an error, or returned something other than invalid, prefix or complete."""


class ScorerFailed(DecodelabError):
    """A scorer raised an error, or did not return one finite number per text."""


class UtilityFailed(DecodelabError):
    """A utility raised an error, or did not return a finite number."""


class InvalidData(DecodelabError, ValueError):
    """Numbers or texts that a metric is not defined on."""


class WorkerLost(DecodelabError):
    """A worker of a sweep died on an item, and so did the workers that retried it."""


class JournalError(DecodelabError):
    """A journal of runs that is not one, is busy, damaged, of another version, or cannot be written."""


class SandboxMissing(DecodelabError):
    """No sandbox to run model-written programs works here."""


class OutputError(DecodelabError):
    """A path cannot be written."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'top_p'?`: what the glossary has for a name, or else a known name that is close, if any.

    >>> did_you_mean("topp", ["top_p", "top_k"]), did_you_mean("nucleus", ["top_p", "sample"])
    ("; did you mean 'top_p'?", "; did you mean 'top_p'?")
    """
    names = list(known)
    if option := option_called(name, names):
        return f"; that is an option: {option} on the command line, {option.lstrip('-').replace('-', '_')}= in Python"
    close = [here] if (here := called_here(name, set(names))) else get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


_ESCAPE = "\\"
_QUOTED = 200
"""Characters of what was given that a message quotes at most."""


def quoted(given: object) -> str:
    r"""What was given as a message quotes it: escaped, on one line, at most 200 characters of it.

    >>> quoted("top\np"), len(quoted("x" * 10_000)), quoted("\ud800")
    ("'top\\np'", 201, "'\\ud800'")
    """
    text = str(given)
    if isinstance(given, int | float):
        return text if len(text) <= _QUOTED else text[: _QUOTED - 3] + "..."
    shown = repr(text[:_QUOTED])
    fits = len(text) <= _QUOTED and len(shown) <= _QUOTED + 2
    return shown if fits else f"{shown[: _QUOTED - 3].rstrip(_ESCAPE)}...{shown[0]}"
