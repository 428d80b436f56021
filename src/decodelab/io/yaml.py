"""YAML, read as plain data."""

from __future__ import annotations

from typing import Any

from decodelab.core.errors import RequestError


def parse_yaml(text: str, where: str) -> Any:
    """The data of a YAML text, built of nothing but plain values.

    Args:
        text: what was written.
        where: it was written, as errors say it.

    Raises:
        RequestError: if it cannot be read.

    >>> parse_yaml("{name: mmlu, shots: 5}", "--task")
    {'name': 'mmlu', 'shots': 5}
    """
    import yaml

    try:
        return yaml.safe_load(text)
    except Exception as error:  # PyYAML raises whatever Python does for scalars such as 2001-99-99 or !!timestamp x
        raise RequestError(f"{where} is not YAML: {' '.join(str(error).split())[:200]}; fix it") from None
