"""Programs that models write: found in their texts, and run where they can do no harm."""
