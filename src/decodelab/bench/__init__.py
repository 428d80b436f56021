"""Many runs, compared: a sweep of models, strategies and tasks, its journal, and what can be said of it."""
