"""Overlap of answers with references."""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from decodelab.core.errors import InvalidData
from decodelab.core.integers import read_integer
from decodelab.core.words import RougeTokens


def exact_match(prediction: str, reference: str) -> bool:
    """Whether two texts are equal but for white space, case, and how Unicode composes characters.

    >>> exact_match(" Paris\\n", "paris"), exact_match("Paris.", "Paris")
    (True, False)
    """
    return _plain(prediction) == _plain(reference)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def integer_match(prediction: str, reference: str) -> bool:
    """Whether two texts settle on the same integer, as `decodelab.core.integers.read_integer` has it.

    False where either settles on none.

    Source: the usual reading of GSM8K answers (Cobbe et al. 2021).

    >>> integer_match("So she has 1,200 eggs.", "#### 1200")
    True
    """
    found = read_integer(prediction)
    return found is not None and found == read_integer(reference)


def token_f1(prediction: str, reference: str) -> float:
    """F1 of the words that two texts share, 0 to 1, without case, punctuation and the articles a, an, the.

    Two texts without words are equal (1).

    Source: Rajpurkar et al. 2016, as SQuAD 2's script computes it.

    >>> token_f1("the cat sat", "A cat sat down.")
    0.8
    """
    found, wanted = _squad_words(prediction), _squad_words(reference)
    if not found or not wanted:
        return float(found == wanted)
    shared = sum((Counter(found) & Counter(wanted)).values())
    return 2 * shared / (len(found) + len(wanted))


def _squad_words(text: str) -> list[str]:
    plain = text.lower().translate(dict.fromkeys(map(ord, string.punctuation)))
    return [word for word in plain.split() if word not in ("a", "an", "the")]


@dataclass(frozen=True)
class Rouge:
    """ROUGE F1 scores, 0 to 1.

    Attributes:
        rouge1: of words.
        rouge2: of pairs of words.
        rouge_l: of the longest common subsequence.
        rouge_lsum: of the words of the reference that are in a common subsequence of a sentence of it and one of the
            text, united over the text's sentences; what papers on summaries of several sentences call ROUGE-L.
    """

    rouge1: float
    rouge2: float
    rouge_l: float
    rouge_lsum: float


_SENTENCE = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])[\"'\u2019\u201d)\]]*(?:\s+|(?<=[\u3002\uff01\uff1f]))")


def _sentence_lines(text: str) -> str:
    """A text with a line for each sentence: its own lines where it has several, else cut after `.`, `!` and `?`."""
    return text if "\n" in text.strip() else _SENTENCE.sub("\n", text)


def rouge(prediction: str, references: str | Sequence[str], *, stem: bool = True) -> Rouge:
    """ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum (F1) of a text against one reference, or the best of several for each.

    Sentences are the lines of a text, as rouge-score has it; a text of one line is cut after full stops, exclamation
    and question marks.

    Empty texts score 0. Words are found in any script (see `rouge_words`); for ASCII this is rouge-score, whose own
    tokeniser drops everything but a to z and digits and so gives 0 to Chinese or Russian.

    Args:
        prediction: the text.
        references: one or several.
        stem: compare English words by their stems (Porter), as papers mostly do.

    Raises:
        InvalidData: for no reference.

    Source: Lin 2004; by rouge-score.

    >>> round(rouge("the cat sat", "the cat sat down").rouge_l, 4)
    0.8571
    """
    texts = [references] if isinstance(references, str) else list(references)
    if not texts:
        raise InvalidData("rouge: needs at least one reference, got none")
    from rouge_score.rouge_scorer import RougeScorer

    kinds = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorer = RougeScorer(kinds, tokenizer=RougeTokens(stem))
    # The other three read over line ends.
    found = scorer.score_multi([_sentence_lines(each) for each in texts], _sentence_lines(prediction))
    return Rouge(*(float(found[kind].fmeasure) for kind in kinds))


def bleu(predictions: Sequence[str], references: Sequence[Sequence[str]], *, tokenize: str = "13a") -> float:
    """Corpus BLEU, 0 to 100, of n-grams up to 4.

    The mean of sentences' BLEU is another number. Where no text has 4 tokens the order is the longest that they have
    (sacrebleu's effective order, which its `sentence_bleu` uses and its `corpus_bleu` does not): two equal short texts
    have 100, not 0. With any text of 4 tokens this is `corpus_bleu`, and of a single text it is `sentence_bleu`.

    Languages without spaces need their own tokens: "zh", or "char".

    Args:
        predictions: one text an item.
        references: its references, at least one an item; items may have different numbers.
        tokenize: sacrebleu's name of a tokeniser.

    Raises:
        InvalidData: for no items, different lengths, an item without reference, or an unknown tokeniser.

    Source: Papineni et al. 2002; by sacrebleu (Post 2018).

    >>> round(bleu(["the cat sat on the mat"], [["the cat sat on a mat"]]), 1)
    53.7
    """
    columns = _columns(predictions, references)
    from sacrebleu.metrics.bleu import BLEU

    known = sorted(BLEU.TOKENIZERS)
    if tokenize not in known:
        raise InvalidData(f"bleu: tokenize must be one of {', '.join(known)}, got {tokenize!r}")
    return float(BLEU(tokenize=tokenize, effective_order=True).corpus_score(list(predictions), columns).score)


def chrf(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus chrF (character n-grams up to 6, recall counted twice), 0 to 100; needs no tokens, so fits any script.

    Args and errors: as `bleu`.

    Source: Popović 2015; by sacrebleu.

    >>> round(chrf(["the cat"], [["the cat"]]), 1)
    100.0
    """
    columns = _columns(predictions, references)
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().corpus_score(list(predictions), columns).score)


def _columns(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Any:
    """References the way sacrebleu wants them: the first of every item, then the second (None where there is none)."""
    if not predictions:
        raise InvalidData("needs at least one text, got none")
    if len(predictions) != len(references):
        raise InvalidData(f"needs references for each text, got {len(references)} for {len(predictions)}")
    for i, refs in enumerate(references):
        if isinstance(refs, str) or not refs:
            raise InvalidData(f"item {i} needs a list of at least one reference")
    most = max(map(len, references))
    return [[refs[i] if i < len(refs) else None for refs in references] for i in range(most)]


def mean_rouge(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Rouge:
    """The mean of `rouge` over items; NaN without any.

    Raises:
        InvalidData: as `bleu`.
    """
    _columns(predictions, references)
    found = [rouge(p, refs) for p, refs in zip(predictions, references, strict=True)]
    return Rouge(*(math.fsum(getattr(r, k) for r in found) / len(found) for k in (f.name for f in fields(Rouge))))
