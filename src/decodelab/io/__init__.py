"""Files in and out: one reader for each format, writers that leave nothing half-written."""
