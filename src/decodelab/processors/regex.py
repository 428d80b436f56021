"""Text that matches a regular expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from decodelab.core.errors import InvalidParameter
from decodelab.core.stage import brief
from decodelab.processors._expressions import ExpressionFault, in_full, plainly
from decodelab.processors._matching import OPTIONS, GrammarConstraint, check_grammar, check_text


@dataclass(frozen=True)
class Regex(GrammarConstraint):
    r"""Generate text that fully matches a regular expression.

    The generated text, from its first character to EOS, must match: `a|b` is one letter, and `.*` before and after a
    pattern makes it a search. The prompt is not part of the text; a space between the prompt and the generated text is.
    EOS is allowed exactly when the text matches; a text cut off by the token limit is a prefix of one that does.
    Special tokens never occur inside. The syntax is the regular part of Python's `re`, and a text matches exactly if
    `re.fullmatch` says so: `.` matches everything except a line end, `\d` and `\w` are Unicode's. Look-around,
    backreferences, word boundaries, possessive quantifiers, nested sets and anchors inside are refused by name.

    All tokenizations of a valid text are valid. Each token is drawn from the valid ones by their own probabilities,
    which is not the model's distribution over texts conditioned on matching (docs/constraints.md); `rejection` draws
    from that. Outlines and vLLM mask in the same way.

    Raises:
        InvalidParameter: if the pattern is no regular expression of this syntax, saying where.
        UnsupportedStrategy: if the vocabulary does not give the bytes of its tokens.

    >>> import decodelab as dl
    >>> model = dl.TableModel(list("ab"), {...: {"a": 0.5, "b": 0.4, "</s>": 0.1}}, bos="<s>", separator="")
    >>> dl.generate(model, "", "regex='ba|b' | greedy")[0].best.text
    'ba'
    """

    pattern: Annotated[str, "regular expression that the whole generated text must match"]

    name: ClassVar[str] = "regex"
    source: ClassVar[str] = "Willard and Louf 2023, Efficient guided generation; masks by llguidance"

    def __post_init__(self) -> None:
        """Check the pattern."""
        if not isinstance(self.pattern, str):
            raise InvalidParameter(f"regex: pattern must be text, got {brief(self.pattern)}; write regex='[a-z]+'")
        check_text(self, "pattern", self.pattern)
        try:
            lark = self.lark()
        except ExpressionFault as fault:
            raise InvalidParameter(
                f"regex: pattern does not parse at character {fault.at}: {fault.what}; got {brief(self.pattern)}"
            ) from None
        check_grammar(self, "pattern", lark, self.pattern)

    def lark(self) -> str:
        """The pattern as a grammar."""
        return f"{OPTIONS}\nstart: /(?:{plainly(in_full(self.pattern))})/"
