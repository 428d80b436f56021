"""Scorers: judgements of partial texts, by which guided searches choose, one a file.

`SCORERS` maps each public name to where it is, as `module:Name`, so that listing names imports nothing.
"""

SCORERS: dict[str, str] = {
    "logprob": "decodelab.scorers.likelihood:MeanLogprob",
    "entropy": "decodelab.scorers.likelihood:Confidence",
    "self_eval": "decodelab.scorers.self_evaluation:SelfEvaluation",
    "path_cost": "decodelab.scorers.path_cost:path_cost",
}
