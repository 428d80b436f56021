"""Running a sweep: the work that is missing, and the workers that do it."""
