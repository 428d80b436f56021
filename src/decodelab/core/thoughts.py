"""What a model wrote without its thoughts, which are no part of its answer."""

from __future__ import annotations

import re

MARKS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
)
"""Marks that models have as tokens of their own around a thought, the most frequent first."""

_NAMES = r"(?:seed:)?(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad|inner_monologue|longcat_think)"
_OPENS = (
    rf"<{_NAMES}>",
    r"\[THINK\]",
    r"\u25c1think\u25b7",
    r"<\|begin_of_thought\|>",
    r"<\|START_THINKING\|>",
    r"(?:<\|start\|>assistant)?<\|channel\|?>(?:analysis|commentary|thought)(?:<\|message\|>)?",
)
_CLOSES = (
    rf"</{_NAMES}>",
    r"\[/THINK\]",
    r"\u25c1/think\u25b7",
    r"<\|end_of_thought\|>",
    r"<\|END_THINKING\|>",
    r"(?:<\|end\|>\s{0,9})?(?:<\|start\|>assistant)?<\|channel\|>final(?:<\|message\|>)?",
    r"<channel\|>",
)
_MARK = re.compile(rf"(?P<opens>{'|'.join(_OPENS)})|(?P<closes>{'|'.join(_CLOSES)})", re.IGNORECASE)
_MARK_BEGINS = ("<", "[", "\u25c1")
"""What every mark begins with: most texts have none of them, and are not searched."""
_OPENED = re.compile(rf"(?:{'|'.join(_OPENS)})\s*\Z", re.IGNORECASE)
_LONGEST_MARK = 200
"""Characters at the end of a prompt that are looked at."""
_WRAPPERS = re.compile(
    r"<\|(?:begin|end)_of_solution\|>|<\|(?:START|END)_RESPONSE\|>|<\|return\|>|<\|end\|>|<\|message\|>"
)
# Channels as a decoder leaves them that skips special tokens: `analysisWe need ...assistantfinalIt is 4.`
_BARE_CHANNEL = re.compile(r"\s{0,9}(?:assistant)?analysis(?=[A-Z\"'(])")
_BARE_FINAL = "assistantfinal"


def without_thoughts(text: str, *, begun: bool = False) -> str:
    r"""The text that a model gives as its answer: what it wrote without its thoughts.

    Thoughts stand between the marks that models use: `<think>` (and `thinking`, `thought`, `reasoning`, `seed:think`
    ...), `[THINK]`, `<|begin_of_thought|>`, `<|START_THINKING|>`, and the channels `analysis` and `commentary` of
    harmony. A closing mark without an opening one ends a thought that the chat template began; a thought that is not
    closed goes on to the end, so that a model which was cut off in it has answered nothing.

    Args:
        text: what the model wrote.
        begun: whether it begins within a thought, as after a prompt that `opens_thought`.

    >>> without_thoughts("<think>A?</think>It is B."), without_thoughts("A?</think>B"), without_thoughts("<think>A")
    ('It is B.', 'B', '')
    >>> without_thoughts("A", begun=True), without_thoughts("A?</think>B", begun=True)
    ('', 'B')
    """
    return _parted(text, begun)[0]


def ends_in_thought(text: str, *, begun: bool = False) -> bool:
    """Whether the last thought of a text goes on to its end.

    >>> ends_in_thought("<think>A?"), ends_in_thought("<think>A?</think>"), ends_in_thought("A?", begun=True)
    (True, False, True)
    """
    return _parted(text, begun)[1]


def opens_thought(prompt: str) -> bool:
    r"""Whether a prompt ends with the mark that opens a thought, so that what follows begins within it.

    >>> opens_thought("2 + 2?\n<think>\n"), opens_thought("<think>\n\n</think>\n\n"), opens_thought("<think> or not?")
    (True, False, False)
    """
    return bool(_OPENED.search(prompt[-_LONGEST_MARK:]))


def _parted(text: str, begun: bool) -> tuple[str, bool]:
    """The answer of a text, and whether a thought goes on to its end."""
    bare = _BARE_CHANNEL.match(text)
    if bare:
        _, final, answer = text.rpartition(_BARE_FINAL)
        return (answer, False) if final else ("", True)
    kept: list[str] = []
    at, thinking, marked = 0, begun, begun
    for mark in _MARK.finditer(text) if any(begin in text for begin in _MARK_BEGINS) else ():
        marked = True
        if mark["opens"]:
            if not thinking:
                kept.append(text[at : mark.start()])
            thinking = True
        elif not thinking and kept and not text[mark.end() :].strip():
            kept.append(text[at : mark.start()])  # said twice at the end
        elif not thinking:
            kept.clear()  # begun in the prompt, or thoughts about the mark itself
        if mark["closes"]:
            thinking = False
        at = mark.end()
    if not thinking:
        kept.append(text[at:])
    answer = "".join(kept)
    return _WRAPPERS.sub("", answer).lstrip("\r\n") if marked else answer, thinking
