"""Checkers: whether a text can still become what it should, one a file.

`CHECKERS` maps each public name to where it is, as `module:Name`, so that listing names imports nothing.
"""

CHECKERS: dict[str, str] = {
    "python": "decodelab.checkers.python:Python",
    "linted_python": "decodelab.checkers.linted_python:LintedPython",
}
