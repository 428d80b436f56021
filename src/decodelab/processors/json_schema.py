"""JSON that a schema describes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from llguidance import LLMatcher

from decodelab.core.errors import InvalidParameter
from decodelab.core.stage import brief, check_choice
from decodelab.processors._matching import OPTIONS, TextConstraint, check_grammar, check_text, read_file


@dataclass(frozen=True)
class JSONSchema(TextConstraint):
    """Generate one JSON value that is valid under a JSON schema.

    Properties come in the order of the schema; optional ones may be left out. EOS is allowed exactly when the value is
    complete; the prompt is not part of it. Tokens are drawn as with `regex`, from the valid ones. Keywords that
    llguidance does not support raise an error instead of being ignored.

    The schema is a mapping, its JSON text, or the path of a file that ends in .json; the stage stores and prints the
    schema itself. A value that can be arbitrarily long (a string, or white space between its parts) is cut off by the
    token limit like any text.

    Raises:
        InvalidParameter: if it is no JSON, no schema that can be held, or one that nothing satisfies.
        UnsupportedStrategy: if the vocabulary does not give the bytes of its tokens.

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
    source: ClassVar[str] = "JSON Schema 2020-12, as far as llguidance holds it"

    def __post_init__(self) -> None:
        """Read and check the schema."""
        text = self.schema
        if isinstance(text, str) and text.endswith(".json"):
            text = read_file(self, "schema", text)
        try:
            schema = json.loads(text) if isinstance(text, str) else text
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
        own = {} if isinstance(schema, bool) else schema.get("x-guidance", {})
        if not isinstance(own, Mapping):
            raise InvalidParameter(
                f"json_schema: x-guidance in schema must be a mapping, got {brief(own)}; leave it out"
            )
        object.__setattr__(self, "schema", written)
        check_choice(self, "whitespace", (True, False), fix="false gives compact JSON")
        check_grammar(self, "schema", LLMatcher.grammar_from_json_schema(self._schema()), written)

    def _schema(self) -> str:
        """The schema as llguidance is given it."""
        schema = json.loads(str(self.schema))
        if not self.whitespace:
            own = {} if schema is True else {"not": {}} if schema is False else schema
            schema = {**own, "x-guidance": {**own.get("x-guidance", {}), "whitespace_flexible": False}}
        return json.dumps(schema)

    def lark(self) -> str:
        """The schema as a grammar."""
        return f"{OPTIONS}\nstart: %json {self._schema()}"
