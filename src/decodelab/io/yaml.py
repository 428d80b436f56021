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
        RequestError: if it cannot be read, or a mapping has a key twice, with its line.

    >>> parse_yaml("{name: mmlu, shots: 5}", "--task")
    {'name': 'mmlu', 'shots': 5}
    """
    import yaml

    try:
        return yaml.load(text, Loader=unique_keys(yaml.SafeLoader))
    except RepeatedKey as error:
        raise RequestError(f"{where}: {error}; remove or rename one") from None
    except Exception as error:  # PyYAML raises whatever Python does for scalars such as 2001-99-99 or !!timestamp x
        raise RequestError(f"{where} is not YAML: {' '.join(str(error).split())[:200]}; fix it") from None


class RepeatedKey(ValueError):
    """A mapping has a key twice, of which PyYAML would take the last without a word."""


def unique_keys(loader: Any) -> Any:
    """A loader of PyYAML as a class that refuses a mapping with a key twice.

    Raises:
        RepeatedKey: when it meets one, with its line.

    >>> import yaml
    >>> yaml.load("{a: 1, a: 2}", Loader=unique_keys(yaml.SafeLoader))
    Traceback (most recent call last):
        ...
    decodelab.io.yaml.RepeatedKey: line 1: key 'a' appears twice
    """
    import yaml

    class Unique(loader):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                if key_node.tag == "tag:yaml.org,2002:merge" or not isinstance(key_node, yaml.ScalarNode):
                    continue
                key = self.construct_object(key_node)
                if key in seen:
                    raise RepeatedKey(f"line {key_node.start_mark.line + 1}: key {str(key)[:60]!r} appears twice")
                seen.add(key)
            return super().construct_mapping(node, deep)

    return Unique
