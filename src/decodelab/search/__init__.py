"""Searches: which hypotheses continue with which tokens, one algorithm per file.

`SEARCHES` maps each public name to its class, as `module:Class`, so listing names imports nothing.
"""

SEARCHES: dict[str, str] = {
    "greedy": "decodelab.search.greedy:Greedy",
    "sample": "decodelab.search.sample:Sample",
    "beam": "decodelab.search.beam:Beam",
    "diverse_beam": "decodelab.search.diverse_beam:DiverseBeam",
    "stochastic_beam": "decodelab.search.stochastic_beam:StochasticBeam",
    "arithmetic": "decodelab.search.arithmetic:Arithmetic",
    "contrastive_search": "decodelab.search.contrastive_search:ContrastiveSearch",
    "smc": "decodelab.search.smc:SMC",
    "value_beam": "decodelab.search.value_beam:ValueBeam",
    "force_words": "decodelab.search.force_words:ForceWords",
    "awrs": "decodelab.search.awrs:AWRS",
    "rejection": "decodelab.search.rejection:Rejection",
}

TREE_SEARCHES: dict[str, str] = {
    "exact": "decodelab.search.exact:Exact",
    "k_best": "decodelab.search.k_best:KBest",
    "astar": "decodelab.search.astar:AStar",
    "best_first": "decodelab.search.best_first:BestFirst",
    "mcts": "decodelab.search.mcts:MCTS",
    "rewind": "decodelab.search.rewind:Rewind",
}
"""Those whose hypotheses grow at different lengths (`decodelab.core.protocols.tree_searches.TreeSearch`)."""

ROUND_SEARCHES: dict[str, str] = {
    "step_beam": "decodelab.search.step_beam:StepBeam",
    "dvts": "decodelab.search.dvts:DVTS",
    "rebase": "decodelab.search.rebase:Rebase",
    "self_refine": "decodelab.search.self_refine:SelfRefine",
    "step_particles": "decodelab.search.step_particles:StepParticles",
    "power": "decodelab.search.power:Power",
}
"""Those that are functions of texts (`decodelab.core.protocols.rounds.SearchesInRounds`)."""

DRIVERS: dict[str, str] = {"speculative": "decodelab.search.speculative:Speculative"}
"""Stages that say how forward passes are made; they stand behind a search and change no text."""
