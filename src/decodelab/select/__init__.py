"""Selections: which finished candidate wins, one algorithm per file.

`SELECTIONS` maps each public name to its class, as `module:Class`, so listing names imports nothing.
"""

SELECTIONS: dict[str, str] = {
    "best_of": "decodelab.select.best_of:BestOf",
    "vote": "decodelab.select.vote:Vote",
}
