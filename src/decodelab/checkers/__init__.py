"""Checkers decide whether a text can still become a valid one; one file each.

`CHECKERS` maps each public name to its location `module:Name`, so listing the names imports nothing.
"""

CHECKERS: dict[str, str] = {
    "python": "decodelab.checkers.python:Python",
    "linted_python": "decodelab.checkers.linted_python:LintedPython",
}
