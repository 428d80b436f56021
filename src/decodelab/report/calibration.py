"""A calibration as an image (PNG, SVG, PDF) or as one self-contained HTML file."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decodelab.core.errors import OutputError
from decodelab.report.page import environment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf", ".html")


def check_suffix(file: Path) -> None:
    """Make sure that the name says what to write.

    Raises:
        OutputError: for a suffix that is none of `SUFFIXES`.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise OutputError(f"cannot write {str(file)!r}: its name must end in one of {', '.join(SUFFIXES)}")


def diagram_bytes(figure: Figure, suffix: str, rows: list[tuple[str, ...]], title: str) -> bytes:
    """The file's content for a suffix; the HTML page has the table of quantities below the diagram."""
    if suffix.lower() != ".html":
        return _saved(figure, suffix.lower()[1:])
    from markupsafe import Markup

    svg = _saved(figure, "svg").decode()
    page = (
        environment()
        .get_template("calibrate.html")
        .render(title=title, svg=Markup(svg[svg.index("<svg") :]), heading=rows[0], rows=rows[1:])
    )
    return page.encode()


def _saved(figure: Figure, kind: str) -> bytes:
    import matplotlib

    out = BytesIO()
    # No date and no random names: the same data give the same file.
    dateless: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    with matplotlib.rc_context({"svg.hashsalt": "decodelab", "svg.fonttype": "path"}):
        figure.savefig(out, format=kind, dpi=150, metadata=dateless)
    return out.getvalue()
