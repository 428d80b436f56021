"""`decodelab export`: write a model in another format."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from decodelab.cli.terminal import say


class NumberFormat(StrEnum):
    """How weights are written."""

    F32 = "f32"
    F16 = "f16"


def command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", show_default=False, help="A shipped model, or the directory of one.")
    ],
    gguf: Annotated[
        Path, typer.Option("--gguf", metavar="FILE", show_default=False, help="Where to write the GGUF file.")
    ],
    dtype: Annotated[NumberFormat, typer.Option(help="Format of the weights; f32 is exact.")] = NumberFormat.F32,
) -> None:
    """Write a Llama model as a GGUF file for llama.cpp.

    The file holds the weights, the tokenizer (byte-level BPE) and the chat template. Needs the gguf package:
    pip install 'decodelab[gguf]'.

    \b
    Examples:
      decodelab export pocket-nano --gguf pocket-nano.gguf
      decodelab export ./my-llama --gguf my-llama.gguf --dtype f16

    Next: llama-server -m pocket-nano.gguf
    """
    from decodelab.models.gguf_export import export_gguf

    size = export_gguf(model, gguf, dtype.value)
    say(f"wrote {gguf}, {size / 1e6:.1f} MB")
