"""Which of the options on offer an answer settles on, by letter or in the option's own words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Final

from decodelab.core import option_phrases as say
from decodelab.core.plain_latex import plain_latex
from decodelab.core.thoughts import without_thoughts

LETTERS = "ABCDEFGHIJ"
AMBIGUOUS: Final = "ambiguous"
"""What is read from an answer that names several options, or one by another's letter."""
_LONGEST = 100_000
_MOST_VALUES = 2_000
"""Characters, and mentions of options, that are looked at from the end."""

# How a text is written is nothing to its meaning: struck-out text goes, emphasis, quotes and LaTeX are opened.
_STRUCK = re.compile(r"~~[^~\n]{1,300}~~|<(?:s|del|strike)>[^<]{0,300}</(?:s|del|strike)>", re.IGNORECASE)
_BOX = re.compile(r"\\f?box(?:ed)?(?![a-z])\s?(?:\{((?:[^{}]|\{[^{}]{0,300}\}){0,500})\}|\{?([^\s{}$.]{1,20}))")
_TAG = re.compile(r"<(answer|final_answer|choice|option|result)>([^<]{0,500})</\1>", re.IGNORECASE)
_MARKUP = re.compile(
    r"\*+|(?<!\w)_{1,3}(?=\S)|(?<=\S)_{1,3}(?!\w)|`+|</?[a-zA-Z][^<>]{0,40}>|^[ \t]{0,9}(?:#{1,6}|>)[ \t]+|\$",
    re.MULTILINE,
)
_QUOTES = re.compile("[\"\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019\u201a\u300c\u300d\u300e\u300f\u3010\u3011']")
_APOSTROPHE = re.compile("(?<=\\w)['\u2019\u2018](?=\\w)")
_CJK = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+)")
_CONNECTED = re.compile(
    r"((?:[:=]|\b(?:is|be|are|answer|choice|option)\b)[ \t:]{0,9})\n\s{0,20}(?=[\[({]?[A-Za-z])", re.IGNORECASE
)

_WORD = re.compile(
    "\\d+(?:[.,]\\d+)*|[^\\W\\d_]+(?:\x01[^\\W\\d_]+)*|[-\u2212](?=\\d)"
    "|[<>\u2264\u2265=+%/\u00b0\u00d7^\u00b1\u2191\u2193]"
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_DOTTED = re.compile(
    r"(?<![\w\x01\-\\.@#])[A-Za-z](?:[.;][A-Za-z](?!\w))+(?:\.|(?<![AI])|(?![ \t]+[a-z]))(?![.;]?[A-Za-z])"
)
"""Letters in a row: several options (`A.B.C.`) or an abbreviation (`b.i.d.`, `U.S.`); not `C.I think`."""
_UNIT = re.compile(r"\s?[%\u00b0^/\u00d7*]")
_ARTICLES = ("the", "a", "an")


@dataclass(frozen=True)
class _Value:
    """A place at which options are named.

    Attributes:
        begin, end: of the place.
        keys: the options named; several where the place does not say which.
        lettered: whether by a letter.
        marked: whether the letter stands in brackets or after a word such as `option`.
        exact: whether the option's words end where the phrase does.
    """

    begin: int
    end: int
    keys: frozenset[str]
    lettered: bool
    marked: bool = False
    exact: bool = True


class OptionReader:
    """Reads which option answers settle on.

    Args:
        options: what is on offer: the words of each option by its key. Keys that are letters can be named as such.
        lettered: whether keys are letters.
    """

    def __init__(self, options: Mapping[str, str], *, lettered: bool = True) -> None:
        """Prepare to look for the options."""
        self._keys = tuple(options)
        self._letter = None
        if lettered:
            offered = "".join(self._keys)
            self._letter = re.compile(
                rf"(?<![\w\x01\-\\.@#])(?P<open>[(\[{{]\s?|\x02)?(?P<letter>[{offered}{offered.lower()}])"
                rf"(?P<close>\s?[)\]}}]|\x02)?(?![\w\x01]|-\w|[+*/&](?![{offered}{offered.lower()}]\b)\w)"
            )
        self._asking = frozenset(key for key, words in options.items() if "?" in words)
        self._words: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for key, text in options.items():
            words = tuple(word for word, _, _ in _words_of(_normal(text)))
            while len(words) > 1 and words[0] in _ARTICLES:
                words = words[1:]
            if words:
                self._words.setdefault(words[0], []).append((words, key))

    def read(self, text: str) -> str | None:
        """The key of the option that a text settles on, `AMBIGUOUS`, or None if it names none."""
        text = _normal(without_thoughts(text)[-_LONGEST:])
        values = list(self._values(text))[-_MOST_VALUES:]
        weak: list[_Value] = []
        mentioned: list[_Value] = []
        for value in reversed(values):
            strength = self._strength(text, value)
            if strength == 3:
                return _one([value])
            if strength == 2:
                weak.append(value)
            elif strength == 1:
                mentioned.append(value)
        return _one(weak) if weak else _one(mentioned)

    def _strength(self, text: str, value: _Value) -> int:
        """3: the text says that this is the answer; 2: it seems to; 1: it is mentioned; 0: it is excluded, or asked."""
        line_end = text.find("\n", value.end)
        after = text[value.end : value.end + 100 if line_end < 0 else min(line_end, value.end + 100)]
        before = text[max(0, value.begin - 200) : value.begin].lower()
        clause = _clause(text, value)
        lowered = after.lower()
        asked = say.ASKED.match(lowered) and not value.keys & self._asking
        if asked or say.DENIED.match(lowered) or say.NEGATED.search(clause):
            return 0
        if say.HYPOTHETICAL.search(clause):
            return 0
        if say.AFFIRMED.match(lowered) or say.CUE.search(clause) or say.CHOSEN.search(clause):
            return 3
        if say.CORRECTED.search(clause):
            return 3
        firm = value.lettered or value.exact
        if say.SO.search(clause):
            return 3 if value.lettered else 2 if firm else 1
        alone = not clause.strip(" \t([{\x02:-\u2013>") and not text[: value.begin].strip(" \t\n([{\x02:-\u2013>")
        if alone and not (value.lettered and _listed(text)):
            return 2
        named = value.lettered and value.end - value.begin > 4
        last = not (named and _listed(text)) and not text[value.end :].strip(" \t\n)]}.!\x02:;,")
        if last and not clause.strip(" \t([{\x02:-\u2013>"):
            return 2
        if value.lettered and _line_begins(text, value):
            return 1
        return 1 if value.marked or (value.lettered and say.BEFORE_BARE.search(before)) or _telling(text, value) else 0

    def _values(self, text: str) -> Iterator[_Value]:
        """The places at which options are named, in their order; what belongs together is one."""
        found = sorted([*self._in_words(text), *self._by_letter(text)], key=lambda value: (value.begin, -value.end))
        last: _Value | None = None
        for value, following in zip_longest(found, found[1:]):
            if last is not None and value.begin < last.end:
                if (value.begin, value.end) == (last.begin, last.end):  # the words of an option are a letter
                    both = replace(last, keys=last.keys | value.keys, lettered=True)
                    last = next((each for each in (value, last) if each.marked), both)
                continue
            if last is not None:
                joined = self._joined(text, last, value)
                if joined is not None and not _contrasted(text, last, value, following):
                    last = joined
                    continue
                yield last
            last = value
        if last is not None:
            yield last

    def _joined(self, text: str, left: _Value, right: _Value) -> _Value | None:
        """Two values as one, if they are a letter with its words, or a list; None if they are no such thing."""
        gap = text[left.end : right.begin]
        if len(gap) > 40 or "\n" in gap:
            return None
        keys = left.keys | right.keys
        wide = _Value(
            left.begin, right.end, keys, left.lettered or right.lettered, left.marked or right.marked, right.exact
        )
        if left.lettered and not right.lettered and say.LABELS.fullmatch(gap):
            if left.keys == right.keys:
                return wide
            # `It is B. Digoxin was ...` begins a sentence; `B. Digoxin` calls an option by another's letter.
            sentence = gap.startswith((".", "\x02.", ",")) and say.SINGULAR.match(
                text[right.end : right.end + 20].lower()
            )
            return None if sentence else wide
        if right.lettered and not left.lettered and right.marked and say.LABELS.fullmatch(gap):
            return wide
        lowered = gap.lower()
        if say.JOINED.fullmatch(lowered):
            separate = (
                "or" not in lowered
                and "/" not in lowered
                and say.SINGULAR.match(text[right.end : right.end + 20].lower())
            )
            return None if separate else wide
        lettered = left.marked and right.marked and left.lettered and right.lettered
        if lettered and (not gap.strip(" \t") or gap.strip("([{") in (".", ";")):
            return wide
        return None

    def _by_letter(self, text: str) -> Iterator[_Value]:
        if self._letter is None:
            return
        rows = {found.start(): found for found in _DOTTED.finditer(text)}
        for row in rows.values():
            letters = frozenset(row[0]) - frozenset(".;")
            if letters <= frozenset(self._keys):  # else an abbreviation
                yield _Value(row.start(), row.end(), letters, True)
        for found in self._letter.finditer(text):
            letter = found["letter"]
            if found.start("letter") in rows:
                continue
            marked = bool(found["close"]) or bool(
                re.search(
                    r"\b(?:option|choice|letter|statement)[\s(\[\x02]{0,4}$",
                    text[max(0, found.start() - 16) : found.end("open") if found["open"] else found.start()].lower(),
                )
            )
            rest = text[found.end() : found.end() + 60]
            own = None
            if not marked:
                first = _WORD.search(rest)
                if first and _key_word(first[0]) in self._words and "\n" not in rest[: first.start()]:
                    own = self._longest(_words_of(text[found.end() : found.end() + 500]), 0)
            if not marked and own is None:
                article = letter in "AaIi" or letter.islower()
                if not (say.AFTER_ARTICLE if article else say.AFTER_LETTER).match(rest.lower()):
                    continue
                if letter in "ai" and not rest.lstrip(" \t")[:1].strip(" ,") and rest.strip():
                    continue
            if not marked and own is not None and letter in "aA" and letter.upper() not in own[1]:
                continue  # an article before the words of another option
            yield _Value(found.start(), found.end(), frozenset((letter.upper(),)), True, marked)

    def _in_words(self, text: str) -> Iterator[_Value]:
        words = _words_of(text)
        at = 0
        while at < len(words):
            found = self._longest(words, at)
            if found is None:
                at += 1
                continue
            length, keys = found
            end = words[at + length - 1][2]
            exact = bool(say.AFTER_TEXT.match(text[end : end + 40].lower()))
            begin = words[at][1]
            if words[at + length - 1][0][-1].isdigit() and _UNIT.match(text, end):
                at += length
                continue
            if not (at and words[at - 1][0] in "-+<>\u2264\u2265=" and words[at - 1][2] == begin) and (
                exact or not self._shared(words[at][0], keys)
            ):
                yield _Value(begin, end, keys, False, False, exact)
            at += length

    def _longest(self, words: Sequence[tuple[str, int, int]], at: int) -> tuple[int, frozenset[str]] | None:
        """How many words of the text from here are the longest option that stands here, and which options that is."""
        best, keys = 0, set()
        for wanted, key in self._words.get(words[at][0], ()) if at < len(words) else ():
            length = len(wanted)
            if length >= best and tuple(word for word, _, _ in words[at : at + length]) == wanted:
                keys = {key} if length > best else keys | {key}
                best = length
        return (best, frozenset(keys)) if best else None

    def _shared(self, word: str, keys: frozenset[str]) -> bool:
        return any(key not in keys for _, key in self._words[word])


def _clause(text: str, value: _Value) -> str:
    """What stands before a value in its sentence, in lower case."""
    before = text[max(0, value.begin - 200) : value.begin].lower()
    cuts = list(say.SENTENCE.finditer(before))
    return before[cuts[-1].end() :] if cuts else before


def _contrasted(text: str, left: _Value, right: _Value, following: _Value | None) -> bool:
    """Whether the left one of two is denied and the right one said in its place, as in `Not B, C`.

    A list of three, and one with a conjunction, is denied as a whole.
    """
    said = say.CONTRAST.fullmatch(text[left.end : right.begin]) and say.NEGATED.search(_clause(text, left))
    if not said or len(left.keys) > 1:
        return False
    return following is None or not say.JOINED.fullmatch(text[right.end : following.begin].lower())


def _one(values: Iterable[_Value]) -> str | None:
    keys = frozenset[str]().union(*(value.keys for value in values))
    return None if not keys else next(iter(keys)) if len(keys) == 1 else AMBIGUOUS


def _normal(text: str) -> str:
    """A text with its markup, LaTeX and quotes opened: \\x01 is an apostrophe in a word, \\x02 a quotation mark."""
    text = text.replace("\x01", " ").replace("\x02", " ").replace("\r\n", "\n")
    text = _STRUCK.sub(" ", unicodedata.normalize("NFKC", text))
    text = _BOX.sub(lambda box: f" answer: {box[1] or box[2] or ''} \n", plain_latex(text))
    text = _TAG.sub(r" answer: \2 \n", text)
    text = _CJK.sub(r" \1 ", _MARKUP.sub("", text))
    text = _QUOTES.sub("\x02", _APOSTROPHE.sub("\x01", text))
    return _CONNECTED.sub(r"\1 ", text)


def _words_of(text: str) -> list[tuple[str, int, int]]:
    return [(_key_word(found[0]), found.start(), found.end()) for found in _WORD.finditer(text)]


def _key_word(word: str) -> str:
    """A word in the form in which equal words are equal texts; commas between thousands are nothing."""
    return _THOUSANDS.sub("", word.casefold())


_LISTED = re.compile(r"^[ \t]*[(\[]?([A-Za-z])[)\].:]", re.MULTILINE)


def _listed(text: str) -> bool:
    """Whether a text lists several options, a line for each."""
    return len({letter.upper() for letter in _LISTED.findall(text[:20_000])}) > 1


def _line_begins(text: str, value: _Value) -> bool:
    return not text[text.rfind("\n", 0, value.begin) + 1 : value.begin].strip(" \t([{-\u2013")


def _telling(text: str, value: _Value) -> bool:
    """Whether words say enough by themselves to be a mention of an option: `no` and `2` stand in any text."""
    return not value.lettered and value.exact and sum(map(str.isalpha, text[value.begin : value.end])) > 3


def read_option(text: str, options: Sequence[str] | None = None) -> str | None:
    """The letter of the option that a text settles on, `AMBIGUOUS`, or None if it settles on none.

    Args:
        text: what a model wrote.
        options: the words of the options, A first; None: the letters A to J are offered, with words unknown.

    Of what is offered only: a letter in any usual form (upper or lower case, bold, in brackets, boxed), or the words of
    an option. The last that is called the answer, chosen or concluded counts; else the one that the text begins or
    ends with; else the only one that is mentioned. What is denied, ruled out, supposed or asked does not count. Several
    where one is called for (`A.B.C.`), and a letter with the words of another option, are ambiguous. Thoughts are no
    answer.

    >>> read_option("The answer is Digoxin", ["Aspirin", "Heparin", "Digoxin"]), read_option("not A, but (b)")
    ('C', 'B')
    >>> read_option("It is A or B"), read_option("I cannot say.")
    ('ambiguous', None)
    """
    words = options if options is not None else [""] * len(LETTERS)
    return OptionReader(dict(zip(LETTERS, words, strict=False))).read(text)


_OFFER = re.compile(r"^[ \t]*\(?([A-J])[.):][ \t]+(\S.*)$", re.MULTILINE)


def offered_in(prompt: str) -> list[str] | None:
    r"""The words of the options that a prompt lists, a line for each from A on, or None if it lists none.

    >>> offered_in("Which?\nA. cat\nB. dog\nAnswer:")
    ['cat', 'dog']
    """
    found: list[str] = []
    for letter, words in _OFFER.findall(prompt):
        if letter == "A":
            found = []  # of an answered question before the one that is asked
        if letter == LETTERS[len(found) % len(LETTERS)]:
            found.append(words.strip())
    return found if len(found) > 1 else None
