"""Sources of confidence: option probabilities, likelihood, agreement, or the model's own statement."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from decodelab.core.errors import InvalidData
from decodelab.core.thoughts import without_thoughts
from decodelab.metrics.checks import Floats

Answer = TypeVar("Answer", bound=Hashable)

_NUMBER = r"(?<![\d.,/])(\d{1,3}(?:[.,]\d+)?|[.]\d+)"
_OUT_OF = re.compile(_NUMBER + r"\s*(?:/|out of)\s*(\d{1,3})(?![\d.,/]*\d)", re.IGNORECASE)
_PERCENT = re.compile(_NUMBER + r"\s*(?:%|\N{FULLWIDTH PERCENT SIGN}|per\s?cent\b)", re.IGNORECASE)
_FRACTION = re.compile(_NUMBER + r"(?![\d.,]*\d)(?!\s*(?:%|/))")
_ADJACENT = re.compile(_NUMBER + r"\s+(?:is\s+my\s+|as\s+my\s+|of\s+)?$")
_ALONE = re.compile(r"\d{1,3}(?:[.,]\d+)?|[.]\d+")
_SCALE = re.compile(
    r"[(\[]?(?:from\s+|between\s+|out\s+of\s+|scale\s+(?:of\s+)?)?\b[01](?:\.0)?\s*(?:-|\N{EN DASH}|to|and)"
    r"\s*(100|10|5|1)(?:\.0)?\b\s*%?[)\]]?",
    re.IGNORECASE,
)
_CUE = re.compile(
    r"\b(?:un)?(?:confiden\w*|certain(?:ty)?\b|sure\b|probabilit\w*|likelihood|credence|confian[cz]\w*|sicherheit|wahrscheinlichkeit"
    r"|p\d{0,2}\s?[:=])|\u4fe1\u5fc3|\u7f6e\u4fe1\u5ea6|\u628a\u63e1",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(
    r"[.;!?](?=\s|$)|\n(?=\s*\S+[^\n:]{0,20}:)|\n\n|\b(?:answer|guess|reason\w*|explanation|because|since)\b",
    re.IGNORECASE,
)
_CLAUSE_BEGIN = re.compile(r"[.;:!?,]\s|\n")
_ANSWERED = re.compile(
    r"\b(?:answer|guess|result|solution)\b[^.;\n:=]{0,40}?(?:\bis\b|[:=])[^;\n]*?(?=[.]\s|[.]$|;|\n|$)", re.IGNORECASE
)
LONGEST_STATEMENT = 10_000


def option_probabilities(logprobs: ArrayLike) -> Floats:
    """Probabilities of the options given that one of them is the answer, from their log-probabilities.

    Args:
        logprobs: of each option as completion of the question, in nats, [..., options]; -inf is an impossible option.

    Raises:
        InvalidData: for NaN, +inf, no options, or only impossible ones.

    >>> option_probabilities([-1.0, -1.0, -math.inf]).tolist()
    [0.5, 0.5, 0.0]
    """
    from scipy.special import softmax

    values = np.asarray(logprobs, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise InvalidData("logprobs must have at least one option, got none")
    if bool(np.isnan(values).any()) or bool((values == math.inf).any()):
        raise InvalidData("logprobs must be log-probabilities, got NaN or +inf; check the model")
    if bool((values.max(-1) == -math.inf).any()):
        raise InvalidData("logprobs must allow some option, got only -inf; the model gives every option probability 0")
    return softmax(values, axis=-1)


def likelihood_confidence(logprob: float, tokens: int, *, normalise: bool = True) -> float:
    """The probability of an answer's text, or its geometric mean per token, as confidence.

    The whole probability falls with every token, whatever the answer; the mean per token is comparable across lengths.
    Neither counts the other wordings of the same answer: see `decodelab.metrics.uncertainty`.

    Args:
        logprob: of the whole answer, in nats.
        tokens: its number of tokens.
        normalise: use the geometric mean per token.

    Raises:
        InvalidData: for a positive or NaN log-probability, or no tokens.

    >>> round(likelihood_confidence(-2.0, 4), 4), round(likelihood_confidence(-2.0, 4, normalise=False), 4)
    (0.6065, 0.1353)
    """
    if not logprob <= 1e-6:
        raise InvalidData(f"logprob must be at most 0, got {logprob}; it is the logarithm of a probability")
    if tokens < 1:
        raise InvalidData(f"tokens must be at least 1, got {tokens}; an empty answer has no confidence")
    return min(1.0, math.exp(logprob / tokens if normalise else logprob))


def agreement_confidence(answers: Sequence[Answer | None]) -> tuple[Answer | None, float]:
    """The most frequent answer of several samples and the share of all samples that give it.

    Samples without an answer (None) count against it; ties go to the answer seen first.

    Raises:
        InvalidData: for no samples.

    Source: Wang et al. 2023 (self-consistency), section 3.4; Si et al. 2023.

    >>> agreement_confidence(["12", "12", None, "7"])
    ('12', 0.5)
    """
    if not answers:
        raise InvalidData("agreement_confidence: needs at least one sample, got none")
    votes = Counter(a for a in answers if a is not None)
    if not votes:
        return None, 0.0
    answer, count = votes.most_common(1)[0]
    return answer, count / len(answers)


def stated_confidence(text: str) -> float | None:
    """The confidence that a text states, in [0, 1], or None when it states none.

    Where the text speaks of confidence (certainty, probability, sure ...), what it says of it counts, the last if
    several do: "9/10" or "9 out of 10", a percentage ("90 %", "90 percent"), a number between 0 and 1, or one on a
    scale that stands beside it ("Confidence (0-100): 85"). Confidence in words (`Answer: 1. Confidence: high`) is none.
    A text that does not speak of it states a confidence by its last share or percentage, or by a number alone on its
    last line; what it gives as its answer is not looked at. Numbers out of range are ignored: "150 %" gives None.
    Thoughts are none.

    Source: the forms that the prompts of Lin et al. 2022 and Tian et al. 2023 ask for.

    >>> [stated_confidence(t) for t in ("I am 90 % sure.", "Confidence: 0.85", "8 out of 10", "Paris")]
    [0.9, 0.85, 0.8, None]
    """
    text = without_thoughts(text)[-LONGEST_STATEMENT:]
    cues = list(_CUE.finditer(text))
    for cue in reversed(cues):
        said = _CLAUSE_END.split(text[cue.end() : cue.end() + 100], maxsplit=1)[0]
        before = _CLAUSE_BEGIN.split(text[max(0, cue.start() - 60) : cue.start()])[-1]
        found, stated = _value(said)
        if not stated:
            found, stated = _value(before, bare=_ADJACENT)
        if stated:
            return found
    if cues:
        return None
    rest = _ANSWERED.sub("", text)
    found, stated = _value(rest, bare=None)
    if stated:
        return found
    last = rest.strip().rpartition("\n")[2].strip(" \t*_.()[]`\"'")
    return _value(last)[0] if _ALONE.fullmatch(last) else None


def _value(text: str, bare: re.Pattern[str] | None = _FRACTION) -> tuple[float | None, bool]:
    """The last confidence in a text (None if it is out of range), and whether there is any.

    Args:
        text: where to look.
        bare: how numbers without a unit are looked for; None: they are not.
    """
    scales = [float(found[1]) for found in _SCALE.finditer(text)]
    text = _SCALE.sub(" ", text)
    shares = [(_float(a), float(b)) for a, b in _OUT_OF.findall(text)]
    shares = [a / b for a, b in shares if b >= 2]
    percentages = [_float(p) / 100 for p in _PERCENT.findall(text)]
    for found in (shares, percentages):
        if found:
            return (found[-1] if found[-1] <= 1 else None), True
    if bare is None:
        return None, False
    scale = scales[-1] if scales else 1.0
    numbers = [_float(n) / scale for n in bare.findall(text)]
    numbers = [n for n in numbers if n <= 1]
    return (numbers[-1], True) if numbers else (None, False)


def _float(number: str) -> float:
    return float(number.replace(",", "."))
