"""The best settings for a model on a task."""
