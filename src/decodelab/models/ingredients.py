"""What the text of a model depends on, in one place: the ingredients of its digest.

The key of an answer in a journal holds the model's digest, the strategy, the prompt's tokens, the number of the sample,
the seed and the limits (`decodelab.bench.records.key_of`); whatever a model adds to a text has to be in its digest:

* the files of its directory named in `FILES`: configurations, tokenizer, chat templates, and its weights;
* what loading decides: the number format, and the adapter that was merged, with files of its own;
* what was read from them in the end: the tokens that begin and end a text, its generation settings and its context.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from decodelab.models.checkpoint import weight_files

FILES = (
    "config.json", "generation_config.json",
    "tokenizer*.json", "tokenizer*.model", "special_tokens_map.json", "added_tokens.json", "normalizer.json",
    "*vocab*", "merges.txt", "bpe.codes", "*.spm", "*.model", "*.tiktoken", "tekken.json",
    "chat_template*", "additional_chat_templates/*",
)  # fmt: skip
"""Patterns of the files of a directory, its weights apart, that change what a model writes."""

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
"""Those of an adapter's directory."""


def digest_of(directories: Iterable[Path], decided: Mapping[str, Any]) -> str:
    """SHA-256 of a loaded model, in hex.

    Args:
        directories: where it was loaded from: a model's directory, and those of its adapters.
        decided: what loading decided, JSON-ready.
    """
    sha = hashlib.sha256(json.dumps(dict(decided), sort_keys=True, default=str).encode())
    for directory in directories:
        sha.update(b"\0directory\0")
        for name, file in files_of(directory):
            sha.update(f"{name}\0".encode(errors="surrogateescape"))
            sha.update(_sha256(file))
    return sha.hexdigest()


def files_of(directory: Path) -> list[tuple[str, Path]]:
    """The files of a model's or an adapter's directory that its texts depend on, by their names in it."""
    adapter = not (directory / "config.json").is_file()
    weights = [] if adapter else weight_files(directory)
    patterns = ADAPTER_FILES if adapter else FILES
    found = {file for pattern in patterns for file in directory.glob(pattern) if file.is_file()} | set(weights)
    return sorted((str(file.relative_to(directory)), file) for file in found)


def _sha256(file: Path) -> bytes:
    blob = file.resolve()
    # The hub's cache names the large files by their SHA-256: gigabytes need not be read again.
    if blob.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", blob.name):
        return bytes.fromhex(blob.name)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
