"""Traces: every step of a generation, as table, image and page."""
