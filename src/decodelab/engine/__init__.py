"""The engine: runs strategies on models."""
