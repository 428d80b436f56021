"""Codes of the reasons a hypothesis ends, for tensors."""

from __future__ import annotations

from decodelab.core.values import FinishReason

CONTINUES, EOS, STOP, LENGTH, PRUNED = 0, 1, 2, 3, 4

REASONS: dict[int, FinishReason] = {EOS: "eos", STOP: "stop", LENGTH: "length", PRUNED: "pruned"}
