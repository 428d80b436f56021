"""Scorers: ratings of partial texts that guide searches, one file each.

`SCORERS` maps each public name to where it is, as `module:Name`, so listing names imports nothing.
"""

SCORERS: dict[str, str] = {
    "logprob": "decodelab.scorers.likelihood:MeanLogprob",
    "entropy": "decodelab.scorers.likelihood:Confidence",
    "self_eval": "decodelab.scorers.self_evaluation:SelfEvaluation",
    "path_cost": "decodelab.scorers.path_cost:path_cost",
    "reward": "decodelab.scorers.reward:Reward",
}
