"""JSON that a schema describes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch

from decodelab.core.errors import ConstraintBroken, InvalidParameter, quoted
from decodelab.core.key import Keys
from decodelab.core.protocols import Vocab
from decodelab.core.stage import brief, check_choice
from decodelab.core.values import Tokens
from decodelab.processors._json_grammar import SchemaFault, check_schema, schema_grammar
from decodelab.processors._json_validator import Validator
from decodelab.processors._matching import OPTIONS, Matched, TextConstraint, check_grammar, check_text, read_file

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Written:
    """How far each row has been matched, and its text so far, which is validated before it may end.

    Attributes:
        matched: by the grammar.
        texts: the bytes of each row.
    """

    matched: Matched
    texts: tuple[bytes, ...]

    def __getitem__(self, rows: Tensor) -> Written:
        """The state of the given rows."""
        return Written(self.matched[rows], tuple(self.texts[r] for r in rows.tolist()))

    def join(self, other: Written) -> Written:
        """The rows of this state followed by those of another."""
        return Written(self.matched.join(other.matched), (*self.texts, *other.texts))


@dataclass(frozen=True)
class JSONSchema(TextConstraint):
    """Generate one JSON value that is valid under a JSON schema, Draft 2020-12.

    Whatever ends by EOS is valid, formats included. Properties come in the order of the schema; optional ones may be
    left out. EOS is allowed exactly when the value is complete; the prompt is not part of it. Tokens are drawn as with
    `regex`, from the valid ones. A keyword, pattern or format that cannot be enforced exactly is refused by name, with
    its place in the schema; docs/constraints.md lists what is enforced, and how values are written.

    The schema is a mapping, its JSON text, or the path of a file that ends in .json; the stage stores and prints the
    schema itself. A value that can be arbitrarily long (a string, or white space between its parts) is cut off by the
    token limit like any text.

    Raises:
        InvalidParameter: if it is no JSON, no schema that can be held, or one that nothing satisfies.
        UnsupportedStrategy: if the vocabulary does not give the bytes of its tokens.
        ConstraintBroken: if a text has matched, but is not valid; this would be our mistake, and is never returned.

    >>> str(JSONSchema({"type": "integer"}))
    'json_schema="{\\\\"type\\\\": \\\\"integer\\\\"}"'
    >>> import decodelab as dl
    >>> distribution = {"1": 0.4, "2": 0.3, "true": 0.2, "</s>": 0.1}
    >>> model = dl.TableModel(["1", "2", "true"], {...: distribution}, bos="<s>", separator="")
    >>> dl.generate(model, "", [{"json_schema": {"schema": {"enum": [True, 12]}}}, "greedy"])[0].best.text
    '12'
    """

    schema: Annotated[str | Mapping[str, Any], "the schema: a mapping, JSON text, or the path of a .json file"]
    whitespace: Annotated[bool, "whether to allow white space between the parts of the value"] = True

    name: ClassVar[str] = "json_schema"
    names_files: ClassVar[tuple[str, ...]] = ("schema",)
    source: ClassVar[str] = "JSON Schema 2020-12, read by us; masks by llguidance"

    def __post_init__(self) -> None:
        """Read and check the schema."""
        text = self.schema
        if isinstance(text, str) and text.endswith(".json"):
            text = read_file(self, "schema", text)
        try:
            schema = json.loads(text, object_pairs_hook=_without_repeats) if isinstance(text, str) else text
            written = json.dumps(schema, ensure_ascii=False, allow_nan=False)
        except (ValueError, TypeError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise InvalidParameter(f"json_schema: schema is not JSON: {reason}; got {brief(self.schema)}") from None
        if not isinstance(schema, Mapping | bool):
            raise InvalidParameter(
                f"json_schema: schema must be a mapping, got {brief(schema)}; "
                'write json_schema=\'{"type": "object"}\''
            )
        check_text(self, "schema", written)
        object.__setattr__(self, "schema", written)
        check_choice(self, "whitespace", (True, False), fix="false gives compact JSON")
        try:
            check_schema(json.loads(written))
            lark = self.lark()
        except SchemaFault as fault:
            raise InvalidParameter(f"json_schema: schema cannot be used: {fault}; got {brief(written)}") from None
        except RecursionError:
            raise InvalidParameter(
                "json_schema: schema cannot be used: it is nested too deeply, or has too many properties; divide it"
            ) from None
        check_grammar(self, "schema", lark, written)

    def lark(self) -> str:
        """The schema as a grammar."""
        return f"{OPTIONS}\n{_grammar(str(self.schema), self.whitespace)}"

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> Written:
        """Rows of which nothing is written yet."""
        return Written(self.begin(prompts, vocab), (b"",) * len(prompts))

    def apply(self, logits: Tensor, state: Written) -> Tensor:
        """Remove tokens from float32 logits [rows, vocab], and EOS from rows whose text is not valid after all."""
        allowed = state.matched.allowed()
        ends = state.matched.spellings.ends
        for row in allowed[:, ends].any(dim=1).nonzero()[:, 0].tolist():
            if not _is_valid(str(self.schema), state.texts[row]):
                allowed[row, ends] = False
                if not allowed[row].any():
                    text = state.texts[row].decode(errors="replace")
                    raise ConstraintBroken(
                        f"json_schema: the text {quoted(text)} matched the schema's grammar, but is not valid under "
                        "the schema; this is a fault of decodelab: report it with the schema"
                    )
        return logits.masked_fill(~allowed, -torch.inf)

    def update(self, state: Written, logits: Tensor, tokens: Tensor) -> Written:
        """Match the chosen tokens."""
        added = state.matched.bytes_of(tokens)
        texts = tuple(text + more for text, more in zip(state.texts, added, strict=True))
        return Written(state.matched.plus(tokens), texts)


@lru_cache(maxsize=64)
def _grammar(schema: str, whitespace: bool) -> str:
    """The grammar of a schema, which stages of equal schemas share."""
    return schema_grammar(json.loads(schema), whitespace=whitespace)


@lru_cache(maxsize=64)
def _validator(schema: str) -> Validator:
    return Validator(json.loads(schema))


def _is_valid(schema: str, text: bytes) -> bool:
    """Whether a text is JSON that is valid under a schema."""
    try:
        value = json.loads(text.decode())
    except (ValueError, RecursionError):
        return False
    return _validator(schema).accepts(value)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a schema's text, whose keys must differ."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {quoted(twice)} stands twice in one object; keep one")
    return found
