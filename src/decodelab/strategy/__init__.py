"""The strategy language: what is executed, as pure data (design, section 3)."""
