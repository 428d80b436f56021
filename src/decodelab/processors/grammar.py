"""Text of a context-free language."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar

from decodelab.core.errors import InvalidParameter
from decodelab.core.stage import brief
from decodelab.processors._expressions import ExpressionFault, plainly, unanchored
from decodelab.processors._matching import OPTIONS, GrammarConstraint, check_grammar, check_text, read_file

_NEWLINE = "\n"
_LEXEMES = re.compile(
    r"""//[^\n]* | \#[^\n]* | "(?:\\.|[^"\\\n])*" | %json | /(?P<pattern>(?:\\.|[^/\\\n])+)/(?P<flags>[a-z]*)""",
    re.VERBOSE,
)
"""Comments, strings and regular expressions, in which none of the others begins."""


@dataclass(frozen=True)
class Grammar(GrammarConstraint):
    r"""Generate text that a context-free grammar accepts.

    The grammar is written in llguidance's dialect of Lark: rules in lower case, terminals in upper case; the whole
    generated text must match `start`, and terminals are regular expressions as in `regex`, without anchors. Nothing is
    ignored between terminals unless `%ignore` says so; `%json` is refused. A path that ends in .lark names a file; the
    stage stores and prints the grammar itself. EOS, the prompt and draws work as in `regex`.

    Raises:
        InvalidParameter: if the grammar does not parse, with line and column.
        UnsupportedStrategy: if the vocabulary does not give the bytes of its tokens.

    >>> import decodelab as dl
    >>> distribution = {"(": 0.4, "x": 0.3, ")": 0.2, "</s>": 0.1}
    >>> model = dl.TableModel(list("(x)"), {...: distribution}, bos="<s>", separator="")
    >>> nested = dl.Grammar('start: "x" | "(" start ")"')
    >>> (g,) = dl.generate(model, "", nested | dl.Beam(width=9, n=2, length_penalty=0.0), max_new_tokens=6)
    >>> [c.text for c in g.candidates]
    ['x', '(x)']
    """

    text: Annotated[str, "the grammar in llguidance's dialect of Lark, or the path of a .lark file"]

    name: ClassVar[str] = "grammar"
    names_files: ClassVar[tuple[str, ...]] = ("text",)
    source: ClassVar[str] = "Earley 1970, lexemes by derivatives of regular expressions: llguidance"

    def __post_init__(self) -> None:
        """Read and check the grammar."""
        if not isinstance(self.text, str):
            raise InvalidParameter(f"grammar: text must be text, got {brief(self.text)}; write grammar='start: \"x\"+'")
        if self.text.endswith(".lark") and "\n" not in self.text:
            object.__setattr__(self, "text", read_file(self, "text", self.text))
        check_text(self, "text", self.text)
        if "%llguidance" in self.text:
            raise InvalidParameter(
                "grammar: text must not set %llguidance options, which decodelab sets; leave them out"
            )
        rewritten = _LEXEMES.sub(self._rewritten, self.text)
        try:
            check_grammar(self, "text", rewritten, self.text)
        except InvalidParameter:
            check_grammar(self, "text", self.text, self.text)  # with the places of what was given
            raise

    def lark(self) -> str:
        """The grammar with our options, its regular expressions as code points."""
        return f"{OPTIONS}\n{_LEXEMES.sub(self._rewritten, self.text)}"

    def _rewritten(self, found: re.Match[str]) -> str:
        """A lexeme of the grammar as llguidance is given it."""
        before = self.text[: found.start()]
        place = f"line {before.count(_NEWLINE) + 1}, column {found.start() - before.rfind(_NEWLINE)}"
        if found[0] == "%json":
            raise InvalidParameter(
                f"grammar: text has %json at {place}, which is not checked; use json_schema, or write the JSON as rules"
            )
        if found["pattern"] is None:
            return found[0]
        flags = f"(?{found['flags']})" if found["flags"] else ""
        try:
            return f"/(?:{plainly(unanchored(flags + found['pattern']))})/"
        except ExpressionFault as fault:
            raise InvalidParameter(
                f"grammar: the expression {brief(found[0])} at {place} does not parse at character "
                f"{max(1, fault.at - len(flags))}: {fault.what}"
            ) from None
