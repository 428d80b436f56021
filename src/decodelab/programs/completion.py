"""The program that an answer comes to, where a prompt begins to define a function."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings

from decodelab.core.thoughts import without_thoughts
from decodelab.programs.code_answers import FENCE, after_future, blocks_of, whole_function

STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""Where a completion ends: what follows is no more of the function (Chen et al. 2021, section 2.1)."""
_LONGEST = 200_000
_LISTED = re.compile(r"\s*(?:[`~]{3}|[-*+>] |\d+[.)] )")


def program(prompt: str, function: str, text: str) -> str:
    r"""The program that an answer comes to.

    An answer that defines the function is a whole one, in blocks of code or in prose: of it, what the function needs
    (`decodelab.programs.code_answers.whole_function`) follows what precedes the function in the prompt (imports, other
    functions). All else completes the prompt, up to the first of `STOPS`. Thoughts are no answer.

    Args:
        prompt: source that begins to define the function, perhaps after imports and other functions.
        function: its name.
        text: the answer.

    >>> program("def f(x):\n", "f", "    return x\nprint(f(1))")
    'def f(x):\n    return x\n'
    """
    text = without_thoughts(text)[-_LONGEST:].replace("\r\n", "\n")
    begun = _cut(FENCE.split(text, maxsplit=1)[0])
    if _continues(text, function) and parses(prompt + begun):
        return f"{prompt}{begun}\n"
    whole = whole_function(text, function)
    if whole is None:
        return f"{prompt}{_cut(_body(prompt, text))}\n"
    define = re.compile(rf"^(?:async[ \t]+)?def[ \t]+{re.escape(function)}\b", re.MULTILINE)
    asked = list(define.finditer(prompt))
    return after_future(f"{prompt[: asked[-1].start()] if asked else prompt}\n{whole}\n")


def _cut(code: str) -> str:
    """A completion up to the first of `STOPS`."""
    ends = [end for stop in STOPS if (end := code.find(stop)) >= 0]
    return code[: min(ends, default=len(code))]


def _continues(text: str, name: str = "") -> bool:
    """Whether a text goes on inside the function: its first line is indented and defines it at no such place."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    margin = first[: len(first) - len(first.lstrip())]
    defined = name and re.search(rf"^{margin}(?:async[ \t]+)?def[ \t]+{re.escape(name)}\b", text, re.MULTILINE)
    return bool(margin) and not defined and not _LISTED.match(first)


def _body(prompt: str, text: str) -> str:
    """The text that completes a prompt: of blocks of code the last that does, or else the first; else the whole text.

    A body that is not indented is, and prose before an indented one is left out, where that alone makes it Python.
    """
    blocks = blocks_of(text)
    if not blocks:
        if parses(prompt + text):
            return text
        lines = text.split("\n")
        begin = next((number for number, line in enumerate(lines) if line[:1].isspace() and line.strip()), 0)
        return "\n".join(lines[begin:]) if begin and parses(prompt + "\n".join(lines[begin:])) else text
    for block in reversed(blocks):
        indented = textwrap.indent(block, "    ")
        if "return" in block and not _continues(block) and parses(prompt + indented):
            return indented
        if _continues(block) and parses(prompt + block):
            return block
    return blocks[0]


def parses(source: str) -> bool:
    """Whether Python can parse it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
