"""Traces: what happened at every step."""
