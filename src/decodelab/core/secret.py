"""Keys: checked before they are used, sent, and never shown."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from urllib.parse import quote

from decodelab.core.errors import RequestError

HIDDEN = "***"
"""What stands in place of a key."""
PART = 8
"""A part of a key with this many characters is hidden, too."""
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True)
class Secret:
    """A key of printable ASCII characters; empty where there is none.

    Attributes:
        text: what is sent.
    """

    text: str = field(repr=False)

    @staticmethod
    def of(value: str, name: str) -> Secret:
        r"""A key as someone set it; white space around it, as the newline that `cat` leaves, is no part of it.

        Args:
            value: what was set.
            name: of the environment variable, for the error, which never shows the value.

        Raises:
            RequestError: for a key with a character that no key has.

        >>> Secret.of("sk-secret\n", "OPENAI_API_KEY").hidden("not sk-secret!")
        'not ***!'
        """
        text = value.strip()
        wrong = next((place for place, character in enumerate(text, 1) if not "!" <= character <= "~"), None)
        if wrong is not None:
            raise RequestError(
                f"{name} is no key: character {wrong} of {len(text)} is not printable ASCII, or is a space; "
                "copy the key again"
            )
        return Secret(text)

    def hidden(self, said: str) -> str:
        """A text without the key, as it is or escaped, and without parts of at least 8 of its characters.

        Letters match in upper and lower case. A key shorter than that, as servers without keys are given, is hidden
        where it is a word.
        """
        if not self.text:
            return said
        if len(self.text) < PART:
            return re.sub(rf"(?<!\w){re.escape(self.text)}(?!\w)", HIDDEN, said)
        parts = {form[i : i + PART] for form in self._forms() for i in range(len(form) - PART + 1)}
        lowered, covered = said.translate(_LOWER), bytearray(len(said))
        for at in range(len(said) - PART + 1):
            if lowered[at : at + PART] in parts:
                covered[at : at + PART] = b"\1" * PART
        runs = groupby(zip(covered, said, strict=True), key=lambda pair: pair[0])
        return "".join(HIDDEN if hide else "".join(character for _, character in run) for hide, run in runs)

    def _forms(self) -> Iterator[str]:
        """The key as texts may have it, in lower case."""
        forms = {self.text, repr(self.text)[1:-1], json.dumps(self.text)[1:-1], quote(self.text, safe="")}
        for form in forms | {html.escape(self.text)}:
            yield form.translate(_LOWER)
