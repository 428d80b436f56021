"""Words of a text in any script."""

from __future__ import annotations

import regex

_BOUNDARY = regex.compile(r"(?V1w)\b")
_IS_WORD = regex.compile(r"[\p{L}\p{N}\p{Extended_Pictographic}]")
# Scripts that write no spaces between words, whose signs stand for words as well as anything simple does.
_PIECE = regex.compile(
    r"(?V1)[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*"
    r"|[[\p{L}\p{N}\p{M}]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]]+"
)


def words(text: str) -> list[str]:
    """The words of a text by Unicode's word boundaries, without spaces and punctuation; an emoji is a word.

    "don't" is one word, a Chinese character is one, and so is a family emoji of several code points.

    Source: Unicode Standard Annex 29, section 4.

    >>> words("Don't stop, 你好 👨‍👩‍👧!")
    ["Don't", 'stop', '你', '好', '👨‍👩‍👧']
    """
    return [piece for piece in _BOUNDARY.split(text) if _IS_WORD.search(piece)]


def rouge_words(text: str) -> list[str]:
    """The words of a text as ROUGE counts them, in any script: lower case, cut at all but letters and digits.

    For plain ASCII these are the tokens of rouge-score, whose own tokeniser drops everything else.

    >>> rouge_words("Don't stop, 你好")
    ['don', 't', 'stop', '你', '好']
    """
    return _PIECE.findall(text.lower())


class RougeTokens:
    """rouge-score's way with tokens, in any script: `rouge_words`, of which English ones longer than three letters may
    be cut to their stems (Porter).

    >>> RougeTokens(stem=True).tokenize("The cats sleep")
    ['the', 'cat', 'sleep']
    """

    def __init__(self, stem: bool) -> None:
        self._stemmer = None
        if stem:
            from nltk.stem.porter import PorterStemmer

            self._stemmer = PorterStemmer()

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text."""
        found = rouge_words(text)
        if self._stemmer is None:
            return found
        return [self._stemmer.stem(w) if len(w) > 3 and w.isascii() else w for w in found]
