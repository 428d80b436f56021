"""Processors: logits to logits, one algorithm a file.

`PROCESSORS` maps each public name to its class, as `module:Class`, so that listing names imports nothing.
"""

PROCESSORS: dict[str, str] = {
    "temperature": "decodelab.processors.temperature:Temperature",
    "top_k": "decodelab.processors.top_k:TopK",
    "top_p": "decodelab.processors.top_p:TopP",
    "min_p": "decodelab.processors.min_p:MinP",
    "typical_p": "decodelab.processors.typical_p:TypicalP",
}
