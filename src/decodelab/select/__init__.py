"""Selections: which finished candidate wins, one algorithm per file.

`SELECTIONS` maps each public name to its class, as `module:Class`, so listing names imports nothing.
"""

SELECTIONS: dict[str, str] = {
    "best_of": "decodelab.select.best_of:BestOf",
    "soft_best_of": "decodelab.select.soft_best_of:SoftBestOf",
    "rerank": "decodelab.select.rerank:Rerank",
    "syntax": "decodelab.select.syntax:Syntax",
    "tests": "decodelab.select.tests:Tests",
    "vote": "decodelab.select.vote:Vote",
    "mbr": "decodelab.select.mbr:MBR",
    "weighted_vote": "decodelab.select.weighted_vote:WeightedVote",
}

STOPPING: dict[str, str] = {"until": "decodelab.select.until:Until"}
"""Drivers that end drawing when what a selection would choose is settled."""

VOTING: dict[str, str] = {"deepconf": "decodelab.select.deepconf:DeepConf"}
"""Searches that count answers while they draw."""
