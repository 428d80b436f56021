"""The limits of float32 as numbers, for what is checked before torch is loaded."""

FLOAT32_MAX = float.fromhex("0x1.fffffep+127")
"""The largest finite number."""

FLOAT32_TINY = float.fromhex("0x1p-126")
"""The smallest positive number of full precision."""
