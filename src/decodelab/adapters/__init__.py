"""A strategy's processors inside other systems, and other systems' processors inside a strategy."""
