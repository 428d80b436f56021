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
    "repetition_penalty": "decodelab.processors.repetition_penalty:RepetitionPenalty",
    "subtractive_penalty": "decodelab.processors.subtractive_penalty:SubtractivePenalty",
    "presence_penalty": "decodelab.processors.presence_penalty:PresencePenalty",
    "frequency_penalty": "decodelab.processors.frequency_penalty:FrequencyPenalty",
    "no_repeat_ngram": "decodelab.processors.no_repeat_ngram:NoRepeatNGram",
    "dry": "decodelab.processors.dry:Dry",
    "logit_bias": "decodelab.processors.logit_bias:LogitBias",
    "ban": "decodelab.processors.ban:Ban",
    "allow": "decodelab.processors.allow:Allow",
    "suppress_at_begin": "decodelab.processors.suppress_at_begin:SuppressAtBegin",
    "forced_bos": "decodelab.processors.forced_bos:ForcedBOS",
    "forced_eos": "decodelab.processors.forced_eos:ForcedEOS",
    "min_new_tokens": "decodelab.processors.min_new_tokens:MinNewTokens",
    "exponential_length": "decodelab.processors.exponential_length:ExponentialLength",
    "watermark": "decodelab.processors.watermark:Watermark",
}
