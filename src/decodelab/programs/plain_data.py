"""Plain data as bytes and back: what crosses between a program and tests that run in another interpreter.

Numbers, text, bytes, lists, tuples, sets, dicts and their views, ranges, decimals, fractions, and iterators, whose
items are sent. Whatever the bytes are, reading them makes values of exactly these types and runs no code of the sender.

The text of this file also runs in the sandbox, where starting costs time: it imports nothing until it must.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MOST_ITEMS = 1_000_000
"""Items of an iterator that are sent at most."""

_VIEWS = {type({}.keys()): b"K", type({}.values()): b"V", type({}.items()): b"E"}
_SINGLE = {b"N": None, b"T": True, b"F": False}
_GROUPS = {list: b"l", tuple: b"t", set: b"s", frozenset: b"z"}
_MADE: "dict[bytes, Callable[[Any], Any]]" = {
    b"l": list,
    b"t": tuple,
    b"s": set,
    b"z": frozenset,
    b"K": lambda items: dict.fromkeys(items).keys(),
    b"V": lambda items: dict(enumerate(items)).values(),
    b"E": lambda items: dict(items).items(),
    b"d": lambda items: dict(zip(items[::2], items[1::2], strict=True)),
    b"r": lambda items: range(*items),
    b"c": lambda items: complex(*items),
    b"I": iter,
}
"""How a value is made of the items of a group."""


class NotPlain(TypeError):
    """A value that cannot be sent."""


def encoded(value: object) -> bytes:
    """A value as bytes; of a subclass as its base type.

    Raises:
        NotPlain: for a value that is, or holds, anything else.
        RecursionError, ValueError: for one that is nested too deeply, or an iterator of too many items: not `NotPlain`,
            since plain data that a program sent can be both.

    >>> decoded(encoded({"a": [1, (2.5, None)], "b": {True}}))
    {'a': [1, (2.5, None)], 'b': {True}}
    """
    parts: list[bytes] = []
    _write(value, parts)
    return b"".join(parts)


def decoded(data: bytes) -> "Any":
    """The value that bytes say.

    Raises:
        ValueError, TypeError, RecursionError: for bytes that `encoded` did not write.
    """
    value, end = _read(data, 0)
    if end != len(data):
        raise ValueError("more follows the value")
    return value


def _write(value: "Any", parts: list[bytes]) -> None:
    """Append a value: a letter, a count and a colon, then as many bytes or values."""
    for single, same in _SINGLE.items():
        if value is same:
            parts.append(single)
            return
    if isinstance(value, int):
        _scalar(b"i", int.__format__(value, "x").encode(), parts)
    elif isinstance(value, float):
        _scalar(b"f", float.hex(value).encode(), parts)
    elif isinstance(value, str):
        _scalar(b"u", str.encode(value, "utf-8", "surrogatepass"), parts)
    elif isinstance(value, bytes | bytearray):
        _scalar(b"a" if isinstance(value, bytearray) else b"b", bytes(value), parts)
    elif isinstance(value, dict):
        _group(b"d", [part for item in dict.items(value) for part in item], parts)
    elif isinstance(value, complex):
        _group(b"c", [value.real, value.imag], parts)
    elif isinstance(value, range):
        _group(b"r", [value.start, value.stop, value.step], parts)
    elif type(value) in _VIEWS:
        _group(_VIEWS[type(value)], list(value), parts)
    elif (kind := next((kind for kind in _GROUPS if isinstance(value, kind)), None)) is not None:
        _group(_GROUPS[kind], list(kind.__iter__(value)), parts)
    elif type(value).__module__ in ("decimal", "fractions") and type(value).__name__ in ("Decimal", "Fraction"):
        _scalar(b"D" if type(value).__name__ == "Decimal" else b"Q", str(value).encode(), parts)
    elif hasattr(type(value), "__next__"):
        items = [item for _, item in zip(range(MOST_ITEMS + 1), value, strict=False)]
        if len(items) > MOST_ITEMS:
            raise ValueError(f"an iterator of more than {MOST_ITEMS:,} items cannot be sent")
        _group(b"I", items, parts)
    else:
        raise NotPlain(f"a value of type {type(value).__name__[:60]}")


def _scalar(letter: bytes, text: bytes, parts: list[bytes]) -> None:
    parts.append(b"%c%d:%b" % (letter, len(text), text))


def _group(letter: bytes, items: list, parts: list[bytes]) -> None:
    parts.append(b"%c%d:" % (letter, len(items)))
    for item in items:
        _write(item, parts)


def _read(data: bytes, at: int) -> "tuple[Any, int]":
    """The value that begins at a place, and where it ends."""
    letter = data[at : at + 1]
    if letter in _SINGLE:
        return _SINGLE[letter], at + 1
    colon = data.index(b":", at)
    count, at = int(data[at + 1 : colon]), colon + 1
    if letter in _MADE:
        items = []
        for _ in range(count):
            item, at = _read(data, at)
            items.append(item)
        return _MADE[letter](items), at
    text = data[at : at + count]
    if not 0 <= count == len(text):
        raise ValueError("the value is cut off")
    return _scalar_of(letter, text), at + count


def _scalar_of(letter: bytes, text: bytes) -> object:
    if letter == b"i":
        return int(text, 16)
    if letter == b"f":
        return float.fromhex(text.decode())
    if letter == b"u":
        return text.decode("utf-8", "surrogatepass")
    if letter == b"b":
        return text
    if letter == b"a":
        return bytearray(text)
    if letter == b"D":
        import decimal

        return decimal.Decimal(text.decode())
    if letter == b"Q":
        import fractions

        return fractions.Fraction(text.decode())
    raise ValueError("no such letter")
