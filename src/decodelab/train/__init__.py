"""Training of the pocket models: tokenizer, data, trainer, evaluation."""
