"""The journal of a sweep, and views of it."""
