"""A JSON schema as a grammar whose texts are valid under it: what cannot be enforced exactly is refused by name.

Each rule of the grammar is for a set of schemas that all hold for one value. `allOf` and `$ref` add schemas to a set,
and `anyOf` makes alternatives of it. Strings have one spelling (that of `json.dumps(ensure_ascii=False)`), so a key is
known by its text. A rule that no text can complete is left out, with whatever needs it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import combinations, product
from typing import Any
from urllib.parse import unquote

import llguidance
import numpy as np

from decodelab.processors._expressions import (
    ANY_CHARACTER,
    ANY_TEXT,
    ExpressionFault,
    Node,
    Repeat,
    as_json,
    exactly,
    found_in,
    in_full,
    plainly,
)
from decodelab.processors._json_formats import FORMATS
from decodelab.processors._json_numbers import Bound, InexactBound, integers, numbers
from decodelab.processors._json_validator import Validator, first_fault
from decodelab.processors._matching import OPTIONS

_TYPES = ("null", "boolean", "number", "string", "array", "object")
_ANNOTATIONS = frozenset(
    """
    $schema $comment $defs definitions title description default examples deprecated readOnly writeOnly
    contentMediaType contentEncoding contentSchema
    """.split()  # noqa: SIM905
)
"""Keywords that say nothing about which values are valid."""
_SUPPORTED = frozenset(
    """
    $ref allOf anyOf oneOf enum const type minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength
    maxLength pattern format prefixItems items minItems maxItems properties required additionalProperties
    patternProperties propertyNames minProperties maxProperties
    """.split()  # noqa: SIM905
)
"""Keywords that are enforced exactly."""
_FIXES = {
    "not": "state what is allowed",
    "if": "write the cases as anyOf",
    "then": "write the cases as anyOf",
    "else": "write the cases as anyOf",
    "dependentSchemas": "write the cases as anyOf",
    "dependentRequired": "write the cases as anyOf",
    "uniqueItems": "list the arrays in enum, or leave it out",
    "x-guidance": "leave it out",
    "$dynamicRef": "use $ref",
    "unevaluatedProperties": "use additionalProperties in one schema that lists all properties",
    "unevaluatedItems": "use items",
}
_MOST_ALTERNATIVES = 500
_MOST_PATTERNS = 4
_MOST_ITEMS = 1000
_SAFE = 2**53 - 1
_ALONE = "\0"
"""Marks a pointer to a schema of which only the keywords beside `anyOf` and `oneOf` are meant."""

Conjunction = tuple[str, ...]
"""Pointers to schemas that all hold for one value."""


class SchemaFault(ValueError):
    """What is wrong with a schema, where in it (a JSON pointer), and what to do."""

    def __init__(self, what: str, pointer: str, fix: str) -> None:
        super().__init__(f"{what} at {pointer}; {fix}")


def schema_grammar(schema: Mapping[str, Any] | bool, *, whitespace: bool) -> str:
    """The grammar of a schema, in llguidance's Lark.

    Raises:
        SchemaFault: if no value is valid, it is no schema of Draft 2020-12, or it cannot be enforced exactly.
    """
    return _Builder(schema, whitespace=whitespace).lark()


@dataclass(frozen=True)
class _Alternative:
    """Schemas without `$ref`, `allOf` and `anyOf` that all hold for one value; `false` is among them if never."""

    schemas: tuple[tuple[str, Mapping[str, Any] | bool], ...]

    def each(self, keyword: str) -> Iterator[tuple[str, Any]]:
        """The values of a keyword, with where they are."""
        for pointer, schema in self.schemas:
            if isinstance(schema, Mapping) and keyword in schema:
                yield f"{pointer}/{keyword}", schema[keyword]

    @property
    def types(self) -> set[str]:
        """The types of which the value can be; "integer" instead of "number" if it must be whole."""
        found = {*_TYPES, "integer"}
        for _, value in self.each("type"):
            some = {value} if isinstance(value, str) else set(value)
            found &= some | ({"integer"} if "number" in some else set())
        return found - {"integer"} if "number" in found else found


class _Builder:
    """Rules by the sets of schemas that they are for.

    Args:
        schema: the whole schema.
        whitespace: whether white space may stand beside brackets, commas and colons.
        lenient: whether every value that some validator takes for valid is to have a text, to find out that there is
            none: formats are not enforced then, `$` is also before a last line end, and keys differ.
    """

    def __init__(self, schema: Mapping[str, Any] | bool, *, whitespace: bool = False, lenient: bool = False) -> None:
        self.root = schema
        self.whitespace = whitespace
        self.lenient = lenient
        self.validator = Validator(schema)
        self.checked: set[str] = set()
        self.rules: dict[str, list[tuple[str, ...]]] = {}
        self.terminals: dict[str, str] = {}
        self.empty: set[str] = set()
        self.names: dict[Conjunction, str] = {}
        self.pending: list[Conjunction] = []
        self.disjoint: dict[Conjunction, str] = {}

    # --- the whole

    def lark(self) -> str:
        start = self.rule(("#",))
        self.build()
        overlapping = _Builder(self.root, lenient=True)
        pairs = {overlapping.rule(pair): pointer for pair, pointer in self.disjoint.items()}
        overlapping.build()
        held = overlapping.productive() & pairs.keys()
        for name in held:
            raise SchemaFault(
                "oneOf with alternatives that can hold at the same time",
                pairs[name],
                "use anyOf, or tell them apart by type, by a const, or by a required property with a const",
            )
        productive = self.productive()
        if start not in productive:
            raise SchemaFault("Unsatisfiable: no value is valid under the schema", "#", "loosen it")
        lines = [f"start: {start}"]
        todo, seen = [start], {start}
        while todo:
            name = todo.pop()
            bodies = [body for body in self.rules[name] if self.completes(body, productive)]
            lines.append(f"{name}: " + " | ".join(" ".join(body) or '""' for body in bodies))
            for symbol in {s for body in bodies for s in body}:
                if symbol not in seen:
                    seen.add(symbol)
                    if symbol in self.rules:
                        todo.append(symbol)
        lines.extend(f"{name}: {text}" for text, name in self.terminals.items() if name in seen)
        return "\n".join(lines) + "\n"

    def build(self) -> None:
        """Make all rules that are asked for, and those that they ask for."""
        while self.pending:
            conjunction = self.pending.pop()
            self.rules[self.names[conjunction]] = [
                (symbol,) for alternative in self.expand(conjunction) for symbol in self.values(alternative)
            ]

    def productive(self) -> set[str]:
        """The rules that some text completes."""
        users: dict[str, set[str]] = {}
        for name, bodies in self.rules.items():
            for symbol in {symbol for body in bodies for symbol in body}:
                users.setdefault(symbol, set()).add(name)
        found: set[str] = set()
        asked = set(self.rules)
        while asked:
            more = {n for n in asked - found if any(self.completes(body, found) for body in self.rules[n])}
            found |= more
            asked = {user for name in more for user in users.get(name, ())}
        return found

    def completes(self, body: tuple[str, ...], productive: set[str]) -> bool:
        """Whether some text completes all symbols."""
        return all(symbol in productive or (symbol not in self.rules and symbol not in self.empty) for symbol in body)

    def terminal(self, text: str) -> str:
        """The name of a terminal, by its expression; a `%json` is written like a rule."""
        if text not in self.terminals:
            self.terminals[text] = name = f"{'j' if text.startswith('%json') else 'T'}{len(self.terminals)}"
            if ("&" in text or "[^" in text) and _is_empty(text):
                self.empty.add(name)
        return self.terminals[text]

    def mark(self, character: str) -> str:
        """The terminal of a bracket, comma or colon, with the white space on its inner sides.

        `%ignore` would not do: it leads into a dead end before a nested `%json`.
        """
        space = r"[\x{20}\x{9}\x{a}\x{d}]*" if self.whitespace else ""
        before, after = space if character in "]},:" else "", space if character in "[{,:" else ""
        return self.terminal(f"/{before}{plainly(exactly(character))}{after}/")

    def rule(self, conjunction: Conjunction) -> str:
        """The name of the rule for schemas that all hold."""
        conjunction = tuple(dict.fromkeys(conjunction))
        if conjunction not in self.names:
            self.names[conjunction] = f"v{len(self.names)}"
            self.pending.append(conjunction)
        return self.names[conjunction]

    def define(self, bodies: list[tuple[str, ...]]) -> str:
        """A further rule."""
        name = f"p{len(self.rules)}"
        self.rules[name] = bodies
        return name

    # --- which schemas hold

    def at(self, pointer: str) -> Any:
        """The schema at a pointer; without its alternatives if the pointer is marked so."""
        if pointer.endswith(_ALONE):
            schema = self.at(pointer.removesuffix(_ALONE))
            return {k: v for k, v in schema.items() if k not in ("anyOf", "oneOf")}
        found: Any = self.root
        for part in pointer.split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            found = found[int(key)] if isinstance(found, list) else found[key]
        return found

    def expand(self, conjunction: Conjunction) -> list[_Alternative]:
        """The alternatives of schemas that all hold."""
        found = []
        for chosen in product(*(self.choices(pointer, ()) for pointer in conjunction)):
            pointers = dict.fromkeys(p for pointers in chosen for p in pointers)
            found.append(_Alternative(tuple((p.removesuffix(_ALONE), self.at(p)) for p in pointers)))
            if len(found) > _MOST_ALTERNATIVES:
                raise SchemaFault("too many combinations of alternatives", conjunction[0], "use fewer anyOf")
        return found

    def choices(self, pointer: str, above: tuple[str, ...]) -> list[tuple[str, ...]]:
        """The sets of schemas that hold if this one does, itself among them."""
        if pointer in above:
            raise SchemaFault("$ref leads back to itself without a value between", pointer, "leave it out")
        schema = self.at(pointer)
        if isinstance(schema, bool):
            return [(pointer,)]
        self.check(pointer, schema)
        above = (*above, pointer)
        parts: list[list[tuple[str, ...]]] = [[(pointer,)]]
        if "$ref" in schema:
            parts.append(self.choices(self.target(pointer, schema["$ref"]), above))
        for i in range(len(schema.get("allOf", ()))):
            parts.append(self.choices(f"{pointer.removesuffix(_ALONE)}/allOf/{i}", above))
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                options = [f"{pointer}/{keyword}/{i}" for i in range(len(schema[keyword]))]
                parts.append([c for option in options for c in self.choices(option, above)])
                if keyword == "oneOf":
                    for pair in combinations(options, 2):
                        self.disjoint[(pointer + _ALONE, *pair)] = f"{pointer}/oneOf"
        found: list[tuple[str, ...]] = []
        for chosen in product(*parts):
            found.append(tuple(p for pointers in chosen for p in pointers))
            if len(found) > _MOST_ALTERNATIVES:
                raise SchemaFault("too many combinations of alternatives", pointer, "use fewer anyOf")
        return found

    def check(self, pointer: str, schema: Mapping[str, Any]) -> None:
        """Refuse keywords that are not enforced."""
        if pointer in self.checked:
            return
        self.checked.add(pointer)
        for keyword, value in schema.items():
            if keyword in _SUPPORTED or keyword in _ANNOTATIONS or (keyword == "uniqueItems" and value is False):
                continue
            if keyword == "$id" and pointer == "#":
                continue
            raise SchemaFault(
                f"{keyword} is not supported",
                f"{pointer}/{_escaped(keyword)}",
                _FIXES.get(
                    keyword, "leave it out" if keyword.startswith(("x-", "$")) else "leave it out or rewrite it"
                ),
            )

    def target(self, pointer: str, reference: str) -> str:
        """The pointer that a reference is."""
        target = reference.rstrip("/") if reference == "#/" else reference
        fault = SchemaFault(
            f"$ref {json.dumps(reference)[:80]} is not found", f"{pointer}/$ref", "refer to a schema as #/$defs/name"
        )
        if target != "#" and not target.startswith("#/"):
            raise fault
        try:
            found = self.at(target)
        except (KeyError, IndexError, ValueError, TypeError):
            raise fault from None
        if not isinstance(found, Mapping | bool):
            raise fault
        if target not in self.checked:
            check_schema(found, target)
        return target

    # --- values

    def values(self, alternative: _Alternative) -> Iterator[str]:
        """The symbols of which each is a value."""
        if any(schema is False for _, schema in alternative.schemas):
            return
        types = alternative.types
        listed = [values for _, values in alternative.each("enum")]
        listed += [[value] for _, value in alternative.each("const")]
        if listed:
            for text in dict.fromkeys(json.dumps(v, ensure_ascii=False, separators=(",", ":")) for v in listed[0]):
                if self.is_valid(alternative, json.loads(text)):
                    yield self.terminal(_literal(text))
            return
        if "null" in types:
            yield self.terminal("/null/")
        if "boolean" in types:
            yield self.terminal("/true|false/")
        if "number" in types or "integer" in types:
            yield from self.numbers(alternative, whole="integer" in types)
        if "string" in types:
            yield self.terminal(self.strings(alternative))
        if "array" in types:
            yield self.array(alternative)
        if "object" in types:
            yield self.object(alternative)

    def is_valid(self, alternative: _Alternative, value: Any) -> bool:
        """Whether one value is valid under all schemas."""
        if isinstance(value, str) and not self.lenient:
            for pointer, name in alternative.each("format"):
                if not re.fullmatch(_format(pointer, name), value):
                    return False
        return all(self.validator.accepts(value, schema) for _, schema in alternative.schemas)

    def numbers(self, alternative: _Alternative, *, whole: bool) -> Iterator[str]:
        low = high = None
        for keyword in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
            for pointer, value in alternative.each(keyword):
                if abs(value) > 1e190 or 0 < abs(value) < 1e-190:
                    raise SchemaFault(f"{keyword} of more than 190 digits is not supported", pointer, "leave it out")
                if isinstance(value, float) and abs(value) > _SAFE:
                    value = int(value)
                bound = Bound(Decimal(repr(value)), keyword.startswith("exclusive"))
                if keyword.lower().endswith("minimum"):
                    low = bound if low is None else max(low, bound, key=lambda b: (b.value, b.strict))
                else:
                    high = bound if high is None else min(high, bound, key=lambda b: (b.value, not b.strict))
        steps = list(alternative.each("multipleOf"))
        if steps:
            yield from self.multiples(steps, low, high)
            return
        try:
            found = integers(low, high) if whole else numbers(low, high)
        except InexactBound:
            raise SchemaFault(
                "a bound of 2**53 or more for numbers that need not be whole",
                alternative.schemas[0][0],
                "use type integer, or a smaller bound",
            ) from None
        for terms in found:
            yield self.terminal(terms if terms.startswith("/") else f"/{terms}/")

    def multiples(self, steps: list[tuple[str, Any]], low: Bound | None, high: Bound | None) -> Iterator[str]:
        """Whole multiples; llguidance counts them, within the integers that every reader holds exactly."""
        step = 1
        for pointer, value in steps:
            if value != int(value) or abs(value) > 10_000:
                raise SchemaFault(
                    "multipleOf that is no integer up to 10,000 is not supported",
                    pointer,
                    "readers of JSON round such numbers; use integers in a smaller unit",
                )
            step = int(np.lcm(step, int(value)))
        least = max(-_SAFE, _whole(low, up=True) if low else -_SAFE)
        most = min(_SAFE, _whole(high, up=False) if high else _SAFE)
        least, most = -(-least // step) * step, most // step * step
        if least <= most:
            rule = json.dumps({"type": "integer", "minimum": least, "maximum": most, "multipleOf": step})
            yield self.terminal(f"%json {rule}")

    def strings(self, alternative: _Alternative) -> str:
        """The expression of the strings that are valid, quotes included."""
        parts: list[Node] = []
        for pointer, pattern in alternative.each("pattern"):
            parts.append(_expression(pointer, pattern, lenient=self.lenient))
        for pointer, name in alternative.each("format"):
            expression = in_full(_format(pointer, name))
            if not self.lenient:
                parts.append(expression)
        low = max((int(value) for _, value in alternative.each("minLength")), default=0)
        high = min((int(value) for _, value in alternative.each("maxLength")), default=None)
        if low or high is not None or not parts:
            if high is not None and high < low:
                return "/a/ & /b/"
            parts.append(Repeat(ANY_CHARACTER, low, high))
        return " & ".join(map(_quoted, parts))

    def array(self, alternative: _Alternative) -> str:
        low = max((int(value) for _, value in alternative.each("minItems")), default=0)
        high = min((int(value) for _, value in alternative.each("maxItems")), default=None)
        fixed = max((len(value) for _, value in alternative.each("prefixItems")), default=0)
        for keyword in ("minItems", "maxItems"):
            for pointer, value in alternative.each(keyword):
                if value > _MOST_ITEMS:
                    raise SchemaFault(f"{keyword} above {_MOST_ITEMS} is not supported", pointer, "use a smaller one")
        if high is not None and high < low:
            return self.define([])
        opening, closing, comma = map(self.mark, "[],")
        places = max(fixed, low, high or 0)
        # rules from the last place back; after it, any number of further items if there is no bound
        after = self.define([()])
        if high is None:
            more = self.define([()])
            self.rules[more].append((comma, self.item(alternative, places), more))
            first = (self.item(alternative, places), more)
            after = more if places else self.define([(), first])
        else:
            places = min(places, high)
        for place in reversed(range(places)):
            item = self.item(alternative, place)
            body = (*((comma,) if place else ()), item, after)
            after = self.define([body] if place < low else [(), body])
        return self.define([(opening, after, closing)])

    def item(self, alternative: _Alternative, place: int) -> str:
        """The rule of the item at a place."""
        found = []
        for pointer, schema in alternative.schemas:
            if isinstance(schema, Mapping):
                if place < len(schema.get("prefixItems", ())):
                    found.append(f"{pointer}/prefixItems/{place}")
                elif "items" in schema:
                    found.append(f"{pointer}/items")
        return self.rule(tuple(found))

    def object(self, alternative: _Alternative) -> str:
        names = dict.fromkeys(n for _, listed in alternative.each("properties") for n in listed)
        required = dict.fromkeys(n for _, listed in alternative.each("required") for n in listed)
        listed = list(names | required)
        low = max((int(value) for _, value in alternative.each("minProperties")), default=0)
        high = min((int(value) for _, value in alternative.each("maxProperties")), default=None)
        if low > len(listed) + 1 and not self.lenient:
            pointer = max(alternative.each("minProperties"), key=lambda found: found[1])[0]
            raise SchemaFault(
                f"minProperties {low} with {len(listed)} listed properties is not supported",
                pointer,
                "list the properties: keys that are not listed may repeat",
            )
        opening, closing, comma, colon = map(self.mark, "{},:")
        members = [
            (
                self.key(_string(name), alternative),
                colon,
                self.member(alternative, name),
            )
            for name in listed
        ]
        further = [(key, colon, value) for key, value in self.further(alternative, listed)]
        rules: dict[tuple[int, int, int, bool], str] = {}

        def rest(place: int, count: int, distinct: int, more: bool) -> str:
            """The rule from a place in the list on, after so many members, of which so many differ surely."""
            state = (place, min(count, 1 if high is None else high), min(distinct, low), more)
            if state in rules:
                return rules[state]
            _, count, distinct, more = state
            rules[state] = name = self.define([])
            separator = (comma,) if count else ()
            bodies: list[tuple[str, ...]] = []
            full = high is not None and count >= high
            if place < len(listed):
                if listed[place] not in required:
                    bodies.append((rest(place + 1, count, distinct, more),))
                if not full:
                    bodies.append((*separator, *members[place], rest(place + 1, count + 1, distinct + 1, more)))
            else:
                if distinct >= low:
                    bodies.append(())
                if not full:
                    after = rest(place, count + 1, distinct + (not more or self.lenient), True) if further else ""
                    bodies.extend((*separator, *member, after) for member in further)
            self.rules[name] = bodies
            return name

        return self.define([(opening, rest(0, 0, 0, False), closing)])

    def member(self, alternative: _Alternative, name: str) -> str:
        """The rule of the value of a listed property."""
        found = []
        for pointer, schema in alternative.schemas:
            if not isinstance(schema, Mapping):
                continue
            own = [f"{pointer}/properties/{_escaped(name)}"] if name in schema.get("properties", {}) else []
            for pattern in schema.get("patternProperties", {}):
                where = f"{pointer}/patternProperties/{_escaped(pattern)}"
                _key_expression(where, pattern)
                if re.search(pattern, name):
                    own.append(where)
            if not own and "additionalProperties" in schema:
                own.append(f"{pointer}/additionalProperties")
            found.extend(own)
        return self.rule(tuple(found))

    def key(self, term: str, alternative: _Alternative) -> str:
        """The terminal of keys, as far as `propertyNames` allows them."""
        terms = [term]
        for pointer, _ in alternative.each("propertyNames"):
            options = [self.strings_of(a) for a in self.expand((pointer,))]
            kept = [option for option in options if option]
            terms.append(f"({' | '.join(f'({option})' for option in kept)})" if kept else "/a/ & /b/")
        return self.terminal(" & ".join(terms))

    def strings_of(self, alternative: _Alternative) -> str:
        """The strings among the values of an alternative, or nothing."""
        if any(schema is False for _, schema in alternative.schemas) or "string" not in alternative.types:
            return ""
        listed = [values for _, values in alternative.each("enum")]
        listed += [[value] for _, value in alternative.each("const")]
        if listed:
            kept = [v for v in listed[0] if isinstance(v, str) and self.is_valid(alternative, v)]
            return " | ".join(_string(v) for v in dict.fromkeys(kept))
        return self.strings(alternative)

    def further(self, alternative: _Alternative, listed: list[str]) -> Iterator[tuple[str, str]]:
        """Keys that are not listed, with the rules of their values: one for each set of patterns that a key matches."""
        patterns: dict[str, str] = {}
        others: dict[str, str] = {}
        for pointer, found in alternative.each("patternProperties"):
            for pattern in found:
                where = f"{pointer}/{_escaped(pattern)}"
                strict = _quoted(_key_expression(where, pattern))
                matched_by_python = _quoted(found_in(pattern, before_newline=True))
                patterns[pattern] = matched_by_python if self.lenient else strict
                others[pattern] = f"~{matched_by_python}"
                if len(patterns) > _MOST_PATTERNS:
                    raise SchemaFault(f"more than {_MOST_PATTERNS} patternProperties", pointer, "use fewer")
        taken = " | ".join(_string(name) for name in listed)
        for size in range(len(patterns) + 1):
            for matched in combinations(patterns, size):
                terms = [_quoted(ANY_TEXT), *(patterns[p] for p in matched)]
                terms += [others[p] for p in patterns if p not in matched]
                terms += [f"~({taken})"] if taken else []
                values = []
                for pointer, schema in alternative.schemas:
                    if not isinstance(schema, Mapping):
                        continue
                    own = [p for p in schema.get("patternProperties", {}) if p in matched]
                    values.extend(f"{pointer}/patternProperties/{_escaped(p)}" for p in own)
                    if not own and "additionalProperties" in schema:
                        values.append(f"{pointer}/additionalProperties")
                if not any(self.at(pointer) is False for pointer in values):
                    yield self.key(" & ".join(terms), alternative), self.rule(tuple(values))


def check_schema(schema: Any, pointer: str = "#") -> None:
    """Refuse what is no schema.

    Raises:
        SchemaFault: naming the first keyword that is wrong.
    """
    fault = first_fault(schema)
    if fault is not None:
        what, path = fault
        raise SchemaFault(what, "/".join([pointer, *map(_escaped, path)]), "see JSON Schema 2020-12")


def _escaped(name: str) -> str:
    """A key in a JSON pointer of a URI fragment."""
    return name.replace("~", "~0").replace("/", "~1").replace("%", "%25")


def _literal(text: str) -> str:
    return f"/{plainly(exactly(text))}/"


def _string(text: str) -> str:
    """One JSON string."""
    return _literal(json.dumps(text, ensure_ascii=False))


def _quoted(node: Node) -> str:
    return rf"/\x{{22}}(?:{as_json(node)})\x{{22}}/"


def _expression(pointer: str, pattern: str, *, lenient: bool = False) -> Node:
    try:
        return found_in(pattern, before_newline=lenient)
    except ExpressionFault as fault:
        what, _, fix = fault.what.partition("; ")
        raise SchemaFault(
            f"pattern {json.dumps(pattern, ensure_ascii=False)[:80]} does not parse at character {fault.at}: {what}",
            pointer,
            fix or "write it in the syntax of docs/constraints.md",
        ) from None


def _key_expression(pointer: str, pattern: str) -> Node:
    """As `_expression`; validators join the patterns of keys to one, in which these parts mean something else."""
    if pattern.startswith("(?") and not pattern.startswith(("(?:", "(?P<")) and ")" in pattern.split(":")[0]:
        raise SchemaFault("flags for a whole pattern are not supported here", pointer, "write (?i:...)")
    if "(?P<" in pattern:
        raise SchemaFault("named groups are not supported here", pointer, "write (...)")
    return _expression(pointer, pattern)


def _format(pointer: str, name: str) -> str:
    if name not in FORMATS:
        raise SchemaFault(
            f"format {json.dumps(name)[:80]} is not supported", pointer, f"use one of {', '.join(sorted(FORMATS))}"
        )
    return FORMATS[name]


def _whole(bound: Bound, *, up: bool) -> int:
    value = bound.value.to_integral_value("ROUND_CEILING" if up else "ROUND_FLOOR")
    return int(value) + ((1 if up else -1) if bound.strict and value == bound.value else 0)


class _Bytes:
    """A vocabulary of single bytes; 255 is in no text."""

    tokens = (*(bytes([b]) for b in range(255)), b"", b"")
    eos_token_id, bos_token_id, special_token_ids = 256, None, (256,)

    def __call__(self, text: str | bytes) -> list[int]:
        return []


@cache
def _bytes() -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Bytes()), n_vocab=257, eos_token=[256])


def _is_empty(terminal: str) -> bool:
    """Whether a terminal matches nothing."""
    matcher = llguidance.LLMatcher(_bytes(), f"{OPTIONS}\nstart: T\nT: {terminal}\n", log_level=0)
    if matcher.is_error():
        return False  # the grammar as a whole will be refused
    mask = np.zeros(9, dtype=np.int32)
    matcher.unsafe_compute_mask_ptr(mask.ctypes.data, 36)
    return not matcher.is_accepting() and (matcher.is_error() or matcher.is_stopped() or not mask.any())
