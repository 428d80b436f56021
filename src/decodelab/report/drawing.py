"""What the plots of this package have in common: text that the bundled font can draw, and PNG."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from decodelab.io.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ascii_text(text: str) -> str:
    """Text in ASCII, which the bundled font can draw, whatever a model or a strategy is called."""
    return printable(text).encode("ascii", "backslashreplace").decode()


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG image."""
    out = BytesIO()
    figure.savefig(out, format="png", metadata={"Software": "decodelab"})
    return out.getvalue()
