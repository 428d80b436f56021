"""Processors: logits to logits, one algorithm a file.

`PROCESSORS` maps each public name to its class, as `module:Class`, so that listing names imports nothing.
"""

PROCESSORS: dict[str, str] = {
    "temperature": "decodelab.processors.temperature:Temperature",
    "top_k": "decodelab.processors.top_k:TopK",
    "top_p": "decodelab.processors.top_p:TopP",
    "min_p": "decodelab.processors.min_p:MinP",
    "typical_p": "decodelab.processors.typical_p:TypicalP",
    "epsilon_cutoff": "decodelab.processors.epsilon_cutoff:EpsilonCutoff",
    "eta_cutoff": "decodelab.processors.eta_cutoff:EtaCutoff",
    "top_n_sigma": "decodelab.processors.top_n_sigma:TopNSigma",
    "top_a": "decodelab.processors.top_a:TopA",
    "top_h": "decodelab.processors.top_h:TopH",
    "tfs_z": "decodelab.processors.tfs_z:TailFree",
    "p_less": "decodelab.processors.p_less:PLess",
    "xtc": "decodelab.processors.xtc:XTC",
    "rank_parity": "decodelab.processors.rank_parity:RankParity",
    "dynamic_temperature": "decodelab.processors.dynamic_temperature:DynamicTemperature",
    "mirostat": "decodelab.processors.mirostat:Mirostat",
    "adaptive_p": "decodelab.processors.adaptive_p:AdaptiveP",
}
