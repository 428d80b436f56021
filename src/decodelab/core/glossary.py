"""What other libraries, papers and people call things, and what they are called here: for every "did you mean".

A name is written in lower case with `_`. It stands for the names here, the first that is known where it was written:
a stage or one with a parameter, a parameter of a stage, an option or a command of the command line.
"""

from __future__ import annotations

from collections.abc import Collection

GLOSSARY: dict[str, tuple[str, ...]] = {
    # truncation and temperature
    "nucleus": ("top_p", "p"),
    "nucleus_sampling": ("top_p",),
    "nucleus_p": ("top_p", "p"),
    "topp": ("top_p",),
    "topk": ("top_k",),
    "minp": ("min_p",),
    "temp": ("temperature",),
    "t": ("temperature",),
    "tau": ("temperature",),
    "dynatemp": ("dynamic_temperature",),
    "dynatemp_range": ("dynamic_temperature(range=0.5)", "range"),
    "dynatemp_exponent": ("dynamic_temperature(range=0.5, exponent=1.0)", "exponent"),
    "typical": ("typical_p",),
    "typ_p": ("typical_p",),
    "locally_typical": ("typical_p",),
    "typical_sampling": ("typical_p",),
    "epsilon": ("epsilon_cutoff", "epsilon"),
    "epsilon_sampling": ("epsilon_cutoff",),
    "eta": ("eta_cutoff", "eta", "epsilon"),
    "eta_sampling": ("eta_cutoff",),
    "tfs": ("tfs_z",),
    "tail_free": ("tfs_z",),
    "tail_free_sampling": ("tfs_z",),
    "top_sigma": ("top_n_sigma",),
    "nsigma": ("top_n_sigma",),
    "xtc_probability": ("xtc(probability=0.5)", "probability"),
    "xtc_threshold": ("xtc(probability=0.5, threshold=0.1)", "threshold"),
    "odd": ("rank_parity=odd",),
    "even": ("rank_parity=even",),
    "odd_sampling": ("rank_parity=odd",),
    "oddsampling": ("rank_parity=odd",),
    "even_sampling": ("rank_parity=even",),
    "evensampling": ("rank_parity=even",),
    "parity": ("rank_parity=odd",),
    "mirostat_v1": ("mirostat(version=1)",),
    "mirostat_v2": ("mirostat",),
    "mirostat_2": ("mirostat",),
    "mirostat2": ("mirostat",),
    "mirostat_tau": ("mirostat(tau=3.0)", "tau"),
    "mirostat_ent": ("mirostat(tau=3.0)", "tau"),
    "mirostat_eta": ("mirostat(eta=0.1)", "eta"),
    "mirostat_lr": ("mirostat(eta=0.1)", "eta"),
    "lr": ("eta", "mirostat(eta=0.1)"),
    "learning_rate": ("eta", "mirostat(eta=0.1)"),
    # penalties and constraints
    "repeat_penalty": ("repetition_penalty", "penalty"),
    "rep_pen": ("repetition_penalty", "penalty"),
    "rep_penalty": ("repetition_penalty", "penalty"),
    "repeat_last_n": ("repetition_penalty(penalty=1.1, window=64)", "window"),
    "no_repeat_ngram_size": ("no_repeat_ngram", "size"),
    "ngram_blocking": ("no_repeat_ngram",),
    "dry_multiplier": ("dry", "multiplier"),
    "dry_base": ("dry(base=1.75)", "base"),
    "dry_allowed_length": ("dry(allowed_length=2)", "allowed_length"),
    "bad_words": ("ban", "words"),
    "bad_words_ids": ("ban", "words"),
    "suppress_tokens": ("ban", "words"),
    "allowed_token_ids": ("allow", "words"),
    "force_words_ids": ("force_words", "phrases"),
    "sequence_bias": ("logit_bias", "bias"),
    "guided_regex": ("regex",),
    "guided_json": ("json_schema",),
    "guided_choice": ("regex",),
    "guided_grammar": ("grammar",),
    "json": ("json_schema",),
    "schema": ("json_schema", "schema"),
    "gbnf": ("grammar",),
    "cfg": ("guidance", "grammar"),
    "cfg_scale": ("guidance", "scale"),
    "guidance_scale": ("guidance", "scale"),
    "min_length": ("min_new_tokens", "--min-new-tokens"),
    "min_tokens": ("min_new_tokens", "--min-new-tokens"),
    "exponential_decay_length_penalty": ("exponential_length",),
    # searches and several results
    "argmax": ("greedy",),
    "do_sample": ("sample",),
    "sampling": ("sample",),
    "multinomial": ("sample",),
    "ancestral": ("sample",),
    "num_return_sequences": ("n", "sample(n=4)", "--samples"),
    "num_samples": ("n", "sample(n=4)", "--samples"),
    "n_samples": ("n", "sample(n=4)", "--samples"),
    "n": ("sample(n=4)", "--samples"),
    "best_of_n": ("best_of",),
    "bon": ("best_of",),
    "num_beams": ("width", "beam(width=3)"),
    "n_beams": ("width", "beam(width=3)"),
    "beams": ("width", "beam(width=3)"),
    "beam_size": ("width", "beam(width=3)"),
    "beam_width": ("width", "beam(width=3)"),
    "beam_search": ("beam(width=3)",),
    "beamsearch": ("beam(width=3)",),
    "num_beam_groups": ("groups", "diverse_beam(width=4, groups=2)"),
    "beam_groups": ("groups", "diverse_beam(width=4, groups=2)"),
    "group_beam": ("diverse_beam(width=4, groups=2)",),
    "diversity_penalty": ("penalty", "diverse_beam(width=4, groups=2)"),
    "length_norm": ("length_penalty",),
    "alpha": ("length_penalty",),
    "penalty_alpha": ("alpha", "contrastive_search"),
    "contrastive": ("contrastive_search", "contrast"),
    "contrastive_decoding": ("contrast",),
    "a_star": ("astar",),
    "majority": ("vote",),
    "majority_vote": ("vote",),
    "self_consistency": ("vote",),
    "maj": ("vote",),
    "adaptive_consistency": ("until(rule=beta)",),
    "esc": ("until(rule=window)",),
    "early_stopping_self_consistency": ("until(rule=window)",),
    "budget_forcing": ("think(budget=1000)",),
    "thinking_budget": ("think(budget=1000)", "budget"),
    "thinking_token_budget": ("think(budget=1000)", "budget"),
    "num_particles": ("particles", "smc"),
    "assisted": ("speculative",),
    "assistant_model": ("draft", "speculative"),
    "draft_model": ("draft", "speculative"),
    "num_assistant_tokens": ("k",),
    "prompt_lookup": ("speculative",),
    "prompt_lookup_num_tokens": ("speculative",),
    # options
    "max_tokens": ("--max-new-tokens",),
    "max_length": ("--max-new-tokens",),
    "max_new_tokens": ("--max-new-tokens",),
    "max_len": ("--max-new-tokens",),
    "max_gen_len": ("--max-new-tokens",),
    "n_predict": ("--max-new-tokens",),
    "num_predict": ("--max-new-tokens",),
    "length": ("--max-new-tokens",),
    "stop": ("--stop",),
    "stop_strings": ("--stop",),
    "stop_sequence": ("--stop",),
    "stop_sequences": ("--stop",),
    "eos_token_id": ("--stop-token-id",),
    "stop_token_ids": ("--stop-token-id",),
    "seed": ("--seed",),
    "random_seed": ("--seed",),
    "manual_seed": ("--seed",),
    "batch_size": ("--max-rows",),
    "num_seqs": ("--max-rows",),
    "model_name": ("--model",),
    "model_name_or_path": ("--model",),
    "model_path": ("--model",),
    "checkpoint": ("--model",),
    "models": ("--model",),
    "strategies": ("--strategy",),
    "strat": ("--strategy",),
    "decoding": ("--strategy",),
    "prompts": ("--file",),
    "prompt_file": ("--file",),
    "input": ("--file",),
    "torch_dtype": ("--dtype",),
    "precision": ("--dtype",),
    "device_map": ("--device",),
    "output": ("--out", "--html"),
    "confidence": ("--level",),
    "confidence_level": ("--level",),
    # commands
    "run": ("generate", "bench"),
    "sample": ("generate",),
    "complete": ("generate",),
    "sweep": ("bench",),
    "benchmark": ("bench",),
    "eval": ("bench",),
    "evaluate": ("bench",),
    "perplexity": ("score",),
    "ppl": ("score",),
    "logprobs": ("score",),
    "stages": ("strategies",),
    "samplers": ("strategies",),
    "search": ("tune",),
    "tuning": ("tune",),
    "beam": ("tree",),
    "diff": ("compare",),
    "list": ("models", "strategies"),
}  # fmt: skip

HUB_NAMES: dict[str, str] = {
    "gpt2": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "openai-gpt": "openai-community/openai-gpt",
    "distilgpt2": "distilbert/distilgpt2",
    "t5-small": "google-t5/t5-small",
    "t5-base": "google-t5/t5-base",
    "t5-large": "google-t5/t5-large",
    "ctrl": "Salesforce/ctrl",
}  # fmt: skip
"""Where models that the Hugging Face hub once had without an owner are now."""


def called_here(name: str, known: Collection[str]) -> str | None:
    """What a name is called here, of the names that are known where it was written; None if it is not in the glossary.

    >>> called_here("num_beams", {"beam", "greedy"}), called_here("--num-beams", {"width", "n"})
    ('beam(width=3)', 'width')
    """
    plain = _plain(name)
    for here in GLOSSARY.get(plain, ()):
        if here.split("(")[0].split("=")[0] in known:
            return here
    return plain if plain != name and plain in known else None


def option_called(name: str, known: Collection[str]) -> str | None:
    """The option of generation that a name stands for where no option is known, such as in a strategy.

    >>> option_called("max_tokens", ["greedy"]), option_called("max_tokens", ["--max-new-tokens"])
    ('--max-new-tokens', None)
    """
    plain = _plain(name)
    here = GLOSSARY.get(plain, ())
    apart = plain == name and here and here[0].startswith("--") and not any(k.startswith("--") for k in known)
    return here[0] if apart and called_here(name, known) is None and here[0] in _OF_GENERATION else None


_OF_GENERATION = ("--max-new-tokens", "--stop", "--stop-token-id", "--seed", "--max-rows")
"""Options that are keywords of `decodelab.generate` too."""


def _plain(name: str) -> str:
    """A name as the glossary has it."""
    return name.strip().lstrip("-").lower().replace("-", "_").replace(" ", "_")
