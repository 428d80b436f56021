"""How jobs are run: one runner for each way of making passes."""
