"""Text of a context-free language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from decodelab.core.errors import InvalidParameter
from decodelab.core.stage import brief
from decodelab.processors._matching import OPTIONS, TextConstraint, check_grammar, check_text, read_file


@dataclass(frozen=True)
class Grammar(TextConstraint):
    r"""Generate text that a context-free grammar accepts.

    The grammar is written in llguidance's dialect of Lark: rules in lower case, terminals in upper case; the whole
    generated text must match `start`, and terminals are regular expressions as in `regex`. Nothing is ignored between
    terminals unless `%ignore` says so. A path that ends in .lark names a file; the stage stores and prints the grammar
    itself. EOS, the prompt and draws work as in `regex`.

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
        check_grammar(self, "text", self.text, self.text)

    def lark(self) -> str:
        """The grammar with our options."""
        return f"{OPTIONS}\n{self.text}"
