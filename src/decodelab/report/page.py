"""What the HTML pages have in common: escaping templates, and scripts that a content security policy lets through."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING

import decodelab
from decodelab.io.text import printable, printable_lines

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def environment(**filters: Callable[..., object]) -> Environment:
    """The templates of this package: what is put into them is escaped, and what is missing is an error.

    Templates know the filters `seen` (unseen characters as escapes, on several lines), `line` (on one), those given
    here, and the `version`.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("decodelab.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"seen": printable_lines, "line": printable} | filters
    made.globals["version"] = decodelab.__version__
    return made


def template_text(*names: str) -> Markup:
    """The text of files beside the templates, one after the other, such as styles and scripts; not escaped."""
    from markupsafe import Markup

    folder = files("decodelab.report") / "templates"
    return Markup("".join((folder / name).read_text(encoding="utf-8") for name in names))


def script_digest(script: str) -> str:
    """What a content security policy calls a script by: SHA-256 in base64."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
