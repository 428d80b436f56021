"""Whatever ends under a JSON schema is valid under it; what cannot be enforced exactly is refused by name."""

import itertools
import json
import re
from datetime import date
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import decodelab as dl
from decodelab.core.errors import ConstraintBroken, InvalidParameter
from decodelab.processors import json_schema as stage_module


def canonical(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# --- what was accepted and is not valid -------------------------------------------------------------

NESTED: dict[str, Any] = {"$ref": "#/$defs/n"}
VALID = [
    # a negated class speaks of the string, not of how it is written
    ({"type": "string", "pattern": '^[^"]$'}, ['"a"', '"\\n"', '"\\\\"'], ['"\\""', '""', '"ab"']),
    ({"type": "string", "pattern": "^[^\\\\]$"}, ['"a"', '"\\""'], ['"\\\\"']),
    ({"type": "string", "pattern": "^[^\\n]$"}, ['"a"', '"\\t"'], ['"\\n"', '"\\u000a"']),
    ({"type": "string", "pattern": "^[^\\x00-\\x1f]*$"}, ['"a\\""'], ['"\\n"', '"\\u0000"']),
    ({"type": "string", "pattern": "^\\W$"}, ['"\\""', '"\\\\"', '"\\n"', '"\\u0000"'], ['"a"', '"é"']),
    ({"type": "string", "pattern": "^\\S$"}, ['"\\""', '"n"', '"\\u0000"'], ['"\\n"', '" "', '"\\u001c"']),
    ({"type": "string", "pattern": "b"}, ['"abc"', '"\\nb"'], ['"ac"', '"\\\\n"']),
    ({"type": "string", "pattern": "^u0041$"}, ['"u0041"'], ['"\\u0041"']),
    ({"type": "string", "pattern": "^(?i:k)$"}, ['"k"', '"\u212a"'], ['"l"']),
    ({"type": "string", "pattern": "^a$"}, ['"a"'], ['"a\\n"']),
    # one spelling a string: escapes do not hide a key, nor count as several characters
    ({"properties": {"a": {"type": "integer"}}}, ['{"a":1}', '{"b":"x"}', "{}", "3"], ['{"a":"x"}', '{"\\u0061":"x"}']),
    ({"properties": {'a"': False}}, ['{"a":1}'], ['{"a\\"":1}', '{"a\\u0022":1}']),
    ({"type": "string", "maxLength": 1},
     ['"é"', '"😀"', '"\\n"', '"\\u0000"'], ['"ab"', '"\\ud83d\\ude00"', '"\\ud83d"']),
    ({"type": "string", "minLength": 2}, ['"😀a"', '"\\n\\n"'], ['"😀"', '"\\n"', '"\\u0000"']),
    ({"const": "é"}, ['"é"'], ['"e"']),
    ({"enum": ['"', "\\", "\n", 1, 1.0, None]},
     ['"\\""', '"\\\\"', '"\\n"', "1", "1.0", "null"], ['"n"', "true", "10"]),
    ({"const": 1}, ["1"], ["true", "10"]),
    # numbers
    ({"type": "integer", "minimum": 10**19}, [str(10**19), str(10**19 + 1)], [str(10**19 - 1), "-1", "1e40"]),
    ({"type": "integer", "exclusiveMinimum": 1.5, "exclusiveMaximum": 3}, ["2"], ["1", "3", "2.5", "02", "-2"]),
    ({"type": "number", "exclusiveMinimum": 0}, ["0.1", "7", "0.001"], ["0", "-0", "0.0", "-1", "1e-400"]),
    ({"type": "number", "exclusiveMinimum": 0.1}, ["0.11"], ["0.1", "0.10000000000000000001", "0.100"]),
    ({"type": "number", "maximum": -0.5}, ["-0.5", "-12"], ["-0.4", "0", "0.5"]),
    ({"type": "number", "minimum": 1e-7}, ["0.0000001", "1"], ["0.00000009", "0"]),
    ({"type": "number"}, ["-1.5e3", "1e-05", "0"], ["1e400", "01", "1.", "+1", "NaN", "1" * 5000]),
    ({"type": "integer", "multipleOf": 6, "minimum": 1}, ["6", "12"], ["0", "9", "-6", "6.0"]),
    ({"allOf": [{"multipleOf": 2}, {"multipleOf": 3}], "type": "integer"}, ["6", "-6", "0"], ["2", "3"]),
    # formats
    ({"type": "string", "format": "date"},
     ['"2024-02-29"', '"2000-02-29"'], ['"2023-02-29"', '"1900-02-29"', '"2023-04-31"']),
    ({"type": "string", "format": "ipv4"}, ['"10.0.0.255"'], ['"10.0.0.256"', '"1.2.3"', '"01.2.3.4"']),
    # arrays and objects
    ({"type": "array", "prefixItems": [{"const": 1}], "items": {"const": 2}}, ["[]",
     "[1]", "[1,2,2]"], ["[2]", "[1,1]"]),
    ({"type": "array", "items": False}, ["[]"], ["[1]"]),
    ({"type": "array", "minItems": 2, "maxItems": 3}, ["[1,2]", "[1,null,{}]"], ["[]", "[1]", "[1,2,3,4]"]),
    ({"type": "object", "required": ["a"], "maxProperties": 2}, ['{"a":1}', '{"a":1,"b":2}'], ["{}", '{"b":1}']),
    ({"type": "object", "minProperties": 1}, ['{"a":1}'], ["{}"]),
    ({"patternProperties": {"^a": {"type": "integer"}, "b$": {"minimum": 3}}},
     ['{"ab":3}', '{"a":1}'], ['{"ab":1}', '{"a":"x"}']),
    ({"patternProperties": {"b$": False}}, ['{"a":1}'], ['{"b":1}', '{"b\\n":1}']),
    ({"additionalProperties": False, "properties": {"a": True}}, ['{"a":1}'], ['{"b":1}', '{"\\u0061":1}']),
    ({"propertyNames": {"pattern": "^[^\"]+$"}, "type": "object"}, ['{"a":1}'], ['{"":1}', '{"\\"":1}']),
    ({"propertyNames": {"enum": ["a"]}, "properties": {"b": {}}, "type": "object"}, ['{"a":1}'], ['{"b":1}']),
    # several at once
    ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, ["1", '"a"'], ["null", "1.5"]),
    ({"oneOf": [{"maximum": 3, "type": "integer"}, {"minimum": 4, "type": "integer"}]}, ["3", "4"], ["null"]),
    ({"oneOf": [{"properties": {"t": {"const": c}}, "required": ["t"]} for c in "xy"], "type": "object"},
     ['{"t":"x"}', '{"t":"y"}'], ['{"t":"z"}', "{}"]),
    ({"oneOf": [{"type": "string", "pattern": "^a"}, {"type": "string", "pattern": "^b"}]}, ['"a"', '"ba"'], ['"c"']),
    ({"allOf": [{"properties": {"a": {"type": "integer"}}}, {"additionalProperties": False}], "type": "object"}, ["{}"],
     ['{"a":1}']),
    ({"$ref": "#/$defs/a~1b%25", "$defs": {"a/b%": {"type": "null"}}}, ["null"], ["1"]),
    ({"properties": {"n": {"$ref": "#"}}, "additionalProperties": False, "type": "object"},
     ['{"n":{"n":{}}}'], ['{"n":1}']),
    ({"anyOf": [{"type": "null"}, False]}, ["null"], ["1"]),
    (True, ["1", '{"a":[null]}'], ["", "nul"]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "valid", "invalid"), VALID, ids=[canonical(schema)[:60] for schema, _, _ in VALID])
def test_a_schema_accepts_what_is_valid_and_nothing_else(bytewise, schema, valid, invalid):
    stage = dl.JSONSchema(schema if isinstance(schema, dict) else canonical(schema))
    validator = Draft202012Validator(schema)
    assert all(validator.is_valid(json.loads(text)) for text in valid)
    assert [text for text in (*valid, *invalid) if bytewise.accepts(stage, text)] == valid


REFUSED = [
    ({"not": {"type": "null"}}, "not is not supported at #/not; state what is allowed"),
    ({"uniqueItems": True}, "uniqueItems is not supported at #/uniqueItems"),
    ({"if": {}, "then": {}}, "if is not supported at #/if"),
    ({"properties": {"a": {"items": {"not": {}}}}}, "not is not supported at #/properties/a/items/not"),
    ({"contains": {}}, "contains is not supported at #/contains"),
    ({"dependentRequired": {}}, "dependentRequired is not supported"),
    ({"dependentSchemas": {}}, "dependentSchemas is not supported"),
    ({"unevaluatedProperties": False}, "unevaluatedProperties is not supported"),
    ({"$dynamicRef": "#"}, "dynamicRef is not supported"),
    ({"requird": ["a"]}, "requird is not supported at #/requird"),
    ({"x-guidance": {"lenient": True}}, "x-guidance is not supported at #/x-guidance; leave it out"),
    ({"oneOf": [{"type": "integer"}, {"minimum": 3}]},
     "oneOf with alternatives that can hold at the same time at #/oneOf"),
    ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, "oneOf with alternatives that can hold"),
    ({"oneOf": [{"pattern": "^a$"}, {"pattern": "^a\\n$"}], "type": "string"}, "oneOf with alternatives that can hold"),
    ({"oneOf": [{"format": "date"}, {"pattern": "^x$"}], "type": "string"}, "oneOf with alternatives that can hold"),
    ({"oneOf": [{"minProperties": 2, "properties": {"a": {}}}, {"properties": {"a": False}}], "type": "object"},
     "oneOf with alternatives that"),
    ({"format": "regex"}, 'format "regex" is not supported at #/format; use one of date'),
    ({"multipleOf": 0.1}, "multipleOf that is no integer .* at #/multipleOf"),
    ({"minimum": 2**60}, "a bound of 2.*53 or more for numbers that need not be whole"),
    ({"type": "object", "minProperties": 3}, "minProperties 3 with 0 listed properties is not supported"),
    ({"pattern": "a(?=b)"}, "pattern .* does not parse at character 2: look-around.* at #/pattern"),
    ({"pattern": "a\\"}, "the expression ends in a backslash at #/pattern"),
    ({"patternProperties": {"(?i)a": {}}}, r"flags for a whole pattern are not supported here.*; write \(\?i:"),
    ({"patternProperties": {"a^b": {}}},
     "an anchor for the start of the text inside the expression at #/patternProperties"),
    ({"$ref": "#/$defs/none"}, r"\$ref .* is not found at #/\$ref"),
    ({"$ref": "https://example.com/other"}, r"\$ref .* is not found at #/\$ref"),
    ({"$defs": {"a": {"$id": "a"}}, "$ref": "#/$defs/a"}, r"\$id is not supported at #/\$defs/a"),
    ({"items": [{}]}, "at #/items; see JSON Schema 2020-12"),
    ({"required": "a"}, "at #/required; see JSON Schema 2020-12"),
    ({"minLength": -1}, "at #/minLength; see JSON Schema 2020-12"),
    ('{"type": "null", "type": "string"}', "the key 'type' stands twice in one object; keep one"),
    # what nothing satisfies
    ({"$defs": {"n": {"type": "object", "properties": {"n": NESTED}, "required": ["n"]}}, **NESTED}, "Unsatisfiable"),
    ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "Unsatisfiable"),
    ({"$ref": "#"}, r"\$ref leads back to itself without a value between"),
    ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, r"\$ref leads back to itself"),
    ({"type": "string", "pattern": "^a$", "minLength": 2}, "Unsatisfiable"),
    ({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2}, "Unsatisfiable"),
    ({"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 6}, "Unsatisfiable"),
    ({"enum": [1, 2], "type": "string"}, "Unsatisfiable"),
    ({"enum": ["2023-02-29"], "format": "date"}, "Unsatisfiable"),
    ({"type": "object", "required": ["a"], "properties": {"a": False}}, "Unsatisfiable"),
    ({"type": "object", "required": ["ab"], "propertyNames": {"maxLength": 1}}, "Unsatisfiable"),
    ({"allOf": [{"type": "null"}, {"type": "string"}]}, "Unsatisfiable"),
    ("false", "Unsatisfiable"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "message"), REFUSED, ids=[str(schema)[:60] for schema, _ in REFUSED])
def test_what_cannot_be_enforced_is_refused_in_one_line_with_its_place(schema, message):
    with pytest.raises(InvalidParameter, match=message) as error:
        dl.JSONSchema(schema)
    assert str(error.value).startswith("json_schema: schema ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("items", [{"type": "integer"}, {"type": "integer", "multipleOf": 3}, {"type": "object"}])
def test_white_space_stands_between_the_parts_only_and_leads_nowhere_else(bytewise, items):
    schema = {"type": "array", "items": items, "minItems": 2}
    rng = Random(1)
    for whitespace in (True, False):
        stage = dl.JSONSchema(schema, whitespace=whitespace)
        texts = [text for _ in range(20) if (text := bytewise.sample(stage, rng))]
        assert any(any(c in text for c in " \t\n\r") for text in texts) == whitespace
        assert all(Draft202012Validator(schema).is_valid(json.loads(text)) for text in texts)
        assert not any(text != text.strip() for text in texts)
    if "multipleOf" in items:
        assert bytewise.accepts(dl.JSONSchema(schema), "[ 3\n,\t-6 , 0 ]")


# --- formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"]
)
def test_samples_of_a_format_are_of_that_format(bytewise, name):
    stage, checker, rng = (
        dl.JSONSchema({"type": "string", "format": name}),
        Draft202012Validator.FORMAT_CHECKER,
        Random(0),
    )
    texts = [text for _ in range(12) if (text := bytewise.sample(stage, rng, limit=150))]
    assert texts
    assert all(checker.conforms(json.loads(text), name) for text in texts)


def test_a_date_is_accepted_exactly_if_it_exists(bytewise):
    stage = dl.JSONSchema({"type": "string", "format": "date"})
    for year, month, day in itertools.product((1, 1900, 2000, 2023, 2024), range(14), (0, 1, 28, 29, 30, 31, 32)):
        text = f"{year:04}-{month:02}-{day:02}"
        try:
            exists = bool(date.fromisoformat(text))
        except ValueError:
            exists = False
        assert bytewise.accepts(stage, f'"{text}"') == exists, text


# --- the guard ------------------------------------------------------------------------------------


def test_a_text_that_matched_but_is_not_valid_never_ends(monkeypatch):
    model = dl.TableModel(["1", "2"], {...: {"1": 0.5, "2": 0.3, "</s>": 0.2}}, bos="<s>", separator="")
    monkeypatch.setattr(stage_module, "schema_grammar", lambda schema, whitespace: "start: /1|12/\n")
    stage = dl.JSONSchema({"const": 12, "title": "the grammar of another schema"})
    assert dl.generate(model, "", [stage, "greedy"], max_new_tokens=5)[0].best.text == "12"
    stage = dl.JSONSchema({"const": 3, "title": "the grammar of another schema"})
    with pytest.raises(
        ConstraintBroken, match="json_schema: the text '12' matched the schema's grammar, but is not valid"
    ):
        dl.generate(model, "", [stage, "greedy"], max_new_tokens=5)


def test_nothing_is_fetched_for_a_schema(monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: pytest.fail("fetched"))
    with pytest.raises(InvalidParameter, match="Unsatisfiable"):
        dl.JSONSchema({"const": [1], "items": {"$ref": "https://example.com/s"}})


# --- random schemas against jsonschema -------------------------------------------------------------

KEYS = ["a", "b", "ab", "c", '"']
STRINGS = ["", "a", "b", "ab", '"', "\\", "\t", "é", "😀", "K", "1", "a b", "\x00", "/", "ba"]
NUMBERS = [0, 1, -1, 2, 3, 0.5, -0.5, 10, 1.5, 2.25, 7, 100]
PATTERNS = ["^a", "b$", '^[^"]$', "[^\\\\]", "^(a|b)*$", "\\d", "^\\w+$", "^.{1,2}$", "^\\s", "(?i:^K)", 'é|"', "^$"]


class Schemas:
    """Random schemas, and random values that are often valid under them."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.defs: dict[str, Any] = {}
        self.defs = {"d": self.schema(1)}

    def maybe(self, chance: float) -> bool:
        return self.rng.random() < chance

    def root(self) -> dict[str, Any]:
        found = self.schema(2)
        return {**(found if isinstance(found, dict) else {}), "$defs": self.defs}

    def scalar(self) -> Any:
        return self.rng.choice([None, True, False, *NUMBERS, *STRINGS, *STRINGS])

    def schema(self, depth: int) -> Any:
        rng, found = self.rng, {}
        if depth < 0 or self.maybe(0.05):
            return rng.choice([True, {}, {"type": "integer"}, {"type": "string"}, {"const": self.scalar()}, False])
        if self.maybe(0.15):
            found["enum"] = [self.scalar() for _ in range(3)]
        kind = rng.choice(["null", "boolean", "integer", "number", "string", "array", "object", "string", "object"])
        if self.maybe(0.75):
            found["type"] = kind if self.maybe(0.8) else list(dict.fromkeys([kind, "null"]))
        choices: dict[str, dict[str, Any]] = {
            "number": {k: lambda: rng.choice(NUMBERS) for k in ("minimum", "maximum", "exclusiveMinimum")}
            | {"multipleOf": lambda: rng.choice([1, 2, 7])},
            "string": {
                "pattern": lambda: rng.choice(PATTERNS),
                "minLength": lambda: rng.randint(0, 2),
                "maxLength": lambda: rng.randint(0, 3),
            },
            "array": {
                "items": lambda: self.schema(depth - 1),
                "prefixItems": lambda: [self.schema(depth - 1)],
                "minItems": lambda: rng.randint(0, 3),
                "maxItems": lambda: rng.randint(0, 3),
            },
            "object": {
                "properties": lambda: {k: self.schema(depth - 1) for k in rng.sample(KEYS, rng.randint(1, 3))},
                "required": lambda: rng.sample(KEYS, rng.randint(1, 2)),
                "additionalProperties": lambda: self.schema(depth - 1),
                "patternProperties": lambda: {p: self.schema(depth - 1) for p in rng.sample(PATTERNS, 2)},
                "propertyNames": lambda: {"pattern": rng.choice(PATTERNS)},
                "minProperties": lambda: rng.randint(0, 2),
                "maxProperties": lambda: rng.randint(0, 3),
            },
        }
        for keyword, draw in choices.get("number" if kind == "integer" else kind, {}).items():
            if self.maybe(0.35):
                found[keyword] = draw()
        if depth > 0 and self.maybe(0.25):
            found[rng.choice(["anyOf", "allOf", "oneOf"])] = [self.schema(depth - 1) for _ in range(2)]
        if self.maybe(0.08):
            found["$ref"] = "#/$defs/d"
        items = list(found.items())
        rng.shuffle(items)
        return dict(items)

    def value(self, schema: Any, depth: int = 3) -> Any:
        rng = self.rng
        if not isinstance(schema, dict) or depth < 0 or self.maybe(0.1):
            return rng.choice([self.scalar(), [self.scalar()], {rng.choice(KEYS): self.scalar()}])
        if "$ref" in schema and self.maybe(0.5):
            return self.value(self.defs["d"], depth - 1)
        if "enum" in schema or "const" in schema:
            return rng.choice(schema.get("enum", [schema.get("const")]))
        for keyword in ("anyOf", "allOf", "oneOf"):
            if keyword in schema and self.maybe(0.6):
                return self.value(rng.choice(schema[keyword]), depth - 1)
        kind = schema.get("type", "object" if "properties" in schema or "required" in schema else "string")
        kind = rng.choice(kind) if isinstance(kind, list) else kind
        if kind in ("null", "boolean"):
            return None if kind == "null" else self.maybe(0.5)
        if kind in ("integer", "number"):
            return rng.choice([n for n in NUMBERS if kind == "number" or isinstance(n, int)])
        if kind == "string":
            return rng.choice(STRINGS) + (rng.choice(STRINGS) if self.maybe(0.3) else "")
        if kind == "array":
            places = [*schema.get("prefixItems", []), *[schema.get("items", True)] * 3]
            return [self.value(s, depth - 1) for s in places[: rng.randint(schema.get("minItems", 0), 3)]]
        found = {}
        for key in dict.fromkeys([*schema.get("properties", {}), *schema.get("required", []), rng.choice(KEYS)]):
            if key in schema.get("required", []) or self.maybe(0.5):
                inner = schema.get("properties", {}).get(key, schema.get("additionalProperties", True))
                found[key] = self.value(inner, depth - 1)
        return found


def orders(value: Any) -> Any:
    """A value with its keys in other orders: schemas say in which order they come."""
    if isinstance(value, list):
        yield from map(list, itertools.product(*(list(orders(item)) for item in value)))
    elif isinstance(value, dict):
        for keys in itertools.permutations(value):
            for values in itertools.product(*(list(orders(value[key])) for key in keys)):
                yield dict(zip(keys, values, strict=True))
    else:
        yield value


def edited(text: str, rng: Random) -> str:
    """A text with one place written otherwise: a character escaped, left out, doubled or replaced."""
    at = rng.randrange(len(text))
    character = text[at]
    new = rng.choice(
        [f"\\u{ord(character) % 0x10000:04x}", "", character * 2, "\\n", '"', "0", ".0", "e0", "-", " ", ",", "null"]
    )
    return text[:at] + new + text[at + 1 :]


def check_against_jsonschema(bytewise: Any, seed: int) -> None:
    schemas = Schemas(seed)
    schema = schemas.root()
    validator = Draft202012Validator(schema)

    def is_valid(value: Any) -> bool:
        try:
            return validator.is_valid(value)
        except RecursionError:  # a $ref that leads back to itself
            return False

    values = [schemas.value(schema) for _ in range(5)]
    # Whole floats are written as integers.
    writable = [v for v in values if not re.search(r"\.0\b|\de", canonical(v))]
    refused, stage = "", None
    try:
        stage = dl.JSONSchema(schema, whitespace=schemas.maybe(0.3))
    except InvalidParameter as error:
        refused = str(error)
    if stage is None:
        assert "Unsatisfiable" not in refused or not any(map(is_valid, writable)), (schema, values)
        return
    for _ in range(2):
        text = bytewise.sample(stage, schemas.rng)
        assert text is None or is_valid(json.loads(text)), (schema, text)
    for value in writable:
        if is_valid(value):
            found = itertools.islice(orders(value), 50)
            assert any(bytewise.accepts(stage, canonical(v)) for v in found), (schema, value)
        else:
            assert not bytewise.accepts(stage, canonical(value)), (schema, value)
        text = edited(canonical(value), schemas.rng)
        assert not bytewise.accepts(stage, text) or is_valid(json.loads(text)), (schema, text)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=50)
def test_random_schemas_accept_what_jsonschema_accepts(bytewise, seed):
    check_against_jsonschema(bytewise, seed)


@pytest.mark.slow
@given(seed=st.integers(0, 10**9))
@settings(max_examples=1000)
def test_many_random_schemas_accept_what_jsonschema_accepts(bytewise, seed):
    check_against_jsonschema(bytewise, seed)
