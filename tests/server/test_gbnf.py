"""A grammar in GBNF accepts the same texts as the grammar that it is translated to."""

from __future__ import annotations

import itertools
import re

import pytest

import decodelab as dl
from decodelab.server.gbnf import GbnfFault, gbnf_to_lark

LETTERS = "abx1\n["
"""A vocabulary in which every token is one character."""


def accepted(grammar: str, length: int) -> set[str]:
    """The texts of at most this many characters that the translated grammar accepts, found by a search for all."""
    table = dl.TableModel(list(LETTERS), {...: dict.fromkeys([*LETTERS, "</s>"], 1 / 7)}, bos="<s>", separator="")
    strategy = dl.Grammar(gbnf_to_lark(grammar)) | dl.Beam(width=300, n=300, length_penalty=0.0)
    (found,) = dl.generate(table, "", strategy, max_new_tokens=length + 1)
    return {c.text for c in found.candidates if c.finish_reason == "eos"}


@pytest.mark.filterwarnings("ignore::decodelab.core.notices.FewerCandidates")
@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        ('root ::= [a-b]* "x"', "[ab]*x"),
        ('root ::= [a-x]* "x"', "[abx]*x"),
        ('root ::= [ax]* "x" | "ab"', "[ax]*x|ab"),  # a longest match of [ax]* leaves no x
        ('root ::= ("ab" | "a" "b"? "x"){1,2}', "(ab|ab?x){1,2}"),
        ("root ::= .", "(?s:.)"),
        ("root ::= [^ab]{2}", "[^ab]{2}"),
        ('root ::= "a"{2,} one?\none ::= [1] # a digit\n', "a{2,}1?"),
        ('root ::= x-1?\nx-1 ::= "\\x0a" | "\\[" "" | (\n"a"\n| "b" )', "\n|\\[|a|b|"),
        ('root ::= "" | [\\[\\n-]', "[\\[\n]|"),
    ],
)
def test_the_same_texts_are_accepted(grammar: str, pattern: str) -> None:
    texts = ("".join(letters) for n in range(4) for letters in itertools.product(LETTERS, repeat=n))
    wanted = {text for text in texts if re.fullmatch(pattern, text)}
    assert accepted(grammar, 3) == wanted


@pytest.mark.filterwarnings("ignore::decodelab.core.notices.FewerCandidates")
def test_rules_may_name_themselves() -> None:
    assert accepted('root ::= "a" root "b" | "1"', 5) == {"1", "a1b", "aa1bb"}


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        ("", "no rule 'root'"),
        ('start ::= "a"', "no rule 'root'"),
        ("root ::= other", "no rule 'other' in line 1"),
        ('root ::= "a"\nroot ::= "b"', "two rules 'root' in line 2"),
        ('root ::=\n  "a', "the text is not closed in line 2"),
        ("root ::= [a", "the characters are not closed in line 1"),
        ("root ::= []", "no characters between"),
        ("root ::= [b-a]", "range from 'b' to 'a' is empty"),
        ('root ::= ("a"', "the group is not closed in line 1"),
        ('root ::= "a")', "expected the end of the rule, got ')'"),
        ('root = "a"', "expected ::= after 'root'"),
        ('root ::= "\\q"', "begins no escape"),
        ('root ::= "\\ud800"', "begins no escape"),
        ('root ::= "a"{3,1}', "the repetition {3,1} is empty"),
        ('root ::= "a"{99999}', "at most 10000"),
        ("root ::= " + "(" * 5000, "nested at most 200 deep"),
        ("root ::= <think>", "tokens are not translated"),
    ],
)
def test_what_is_no_gbnf_is_refused_with_its_line(grammar: str, message: str) -> None:
    with pytest.raises(GbnfFault, match=re.escape(message)):
        gbnf_to_lark(grammar)
