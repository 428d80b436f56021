"""Chunks of a text: where a line, a step of reasoning or a sentence ends."""

from __future__ import annotations

import re
from typing import Literal, get_args

Chunk = Literal["line", "step", "sentence"]
"""A unit of text: a line, what stands before an empty line (a step of reasoning), or a sentence."""

CHUNKS: tuple[Chunk, ...] = get_args(Chunk)

SENTENCE_END = re.compile(r"""(?:[.!?…\u3002\uff01\uff1f][)\]}"'’”»]*|\n)\s*\Z""")
"""Where a sentence may be over: a mark that ends one, perhaps closed by quotes and brackets, or a new line."""

MARKS: dict[Chunk, str] = {"line": "\n", "step": "\n\n"}
"""The strings that end lines and steps; what ends a sentence is no single one."""


def chunk_ended(chunk: Chunk, text: str) -> bool:
    r"""Whether a text, read token by token, holds a whole chunk; white space alone is none.

    >>> [chunk_ended("line", text) for text in ("\n", "\none", "\none\n")]
    [False, False, True]
    >>> chunk_ended("step", "one\ntwo\n\n"), chunk_ended("sentence", "One (or two!) ")
    (True, True)
    """
    begun = text.lstrip()
    if not begun or chunk == "sentence":
        return bool(begun) and SENTENCE_END.search(begun) is not None
    return MARKS[chunk] in begun
