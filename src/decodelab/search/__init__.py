"""Searches: which hypotheses go on with which tokens, one algorithm a file.

`SEARCHES` maps each public name to its class, as `module:Class`, so that listing names imports nothing.
"""

SEARCHES: dict[str, str] = {
    "greedy": "decodelab.search.greedy:Greedy",
    "sample": "decodelab.search.sample:Sample",
    "beam": "decodelab.search.beam:Beam",
    "stochastic_beam": "decodelab.search.stochastic_beam:StochasticBeam",
    "arithmetic": "decodelab.search.arithmetic:Arithmetic",
    "smc": "decodelab.search.smc:SMC",
}
