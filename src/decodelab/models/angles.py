"""Networks whose rotary angles depend on how long a sequence is: longrope and dynamic NTK scaling.

The angles of all positions change when a sequence grows past a length: with longrope once, at the original context;
with dynamic scaling at every token beyond it. Keys that were stored under other angles mean something else then. What
counts here is the network as a function of the sequence: the logits after a sequence are those of one pass over all of
it, whatever stands beside it in a batch and wherever the prompt ended.

Differs from transformers: `generate` goes on with the keys of the old angles, so that its text depends on where the
prompt ended; Phi-3 alone computes them anew at its switch, as is done here for all. In a batch transformers takes the
angles of the longest row for all rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

Regime = tuple[int, int]
"""What sequences have in common that see the same angles: switches passed, and a length of its own beyond a bound."""


@dataclass(frozen=True)
class Angles:
    """How the angles of a network depend on the length of a sequence.

    Attributes:
        switches: lengths beyond which other angles are used (longrope).
        bound: the length beyond which they change with every token (dynamic), or None.
        rotaries: the modules that compute them.
    """

    switches: tuple[int, ...]
    bound: int | None
    rotaries: tuple[Any, ...]

    @staticmethod
    def of(network: nn.Module) -> Angles | None:
        """How those of a network do; None when they depend on positions alone."""
        switches: set[int] = set()
        bounds: set[int] = set()
        rotaries: list[Any] = []
        for module in network.modules():
            kinds = getattr(module, "rope_type", None)
            config: Any = getattr(module, "config", None)
            for layer, kind in kinds.items() if isinstance(kinds, dict) else [(None, kinds)]:
                if kind == "longrope":
                    parameters = config.rope_parameters if layer is None else config.rope_parameters[layer]
                    switches.add(int(parameters["original_max_position_embeddings"]))
                elif isinstance(kind, str) and "dynamic" in kind:
                    bounds.add(int(config.max_position_embeddings))
                    rotaries.append(module)
        if not switches and not bounds:
            return None
        return Angles(tuple(sorted(switches)), min(bounds, default=None), tuple(rotaries))

    def regime(self, length: int) -> Regime:
        """The regime of a sequence of this many tokens."""
        own = length if self.bound is not None and length > self.bound else 0
        return sum(length > switch for switch in self.switches), own

    def reset(self) -> None:
        """Forget how long earlier sequences were: dynamic scaling keeps the angles of the longest one."""
        for rotary in self.rotaries:
            kept = [name for name in dir(rotary) if name.endswith("max_seq_len_cached")]
            for name in kept:
                setattr(rotary, name, rotary.original_max_seq_len)
            for name, buffer in list(rotary.named_buffers(recurse=False)):
                if name.endswith("inv_freq") and "original" not in name:
                    original = getattr(rotary, name.replace("inv_freq", "original_inv_freq"))
                    setattr(rotary, name, original.to(buffer.device))
