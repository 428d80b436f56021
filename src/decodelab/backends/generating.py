"""`load`, `generate` and `score` for models of all kinds: local ones, and those that a server runs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from decodelab.backends.catalogue import text_model
from decodelab.backends.scoring import ScoresTexts
from decodelab.backends.texts import TextJob, TextModel
from decodelab.core.errors import DecodelabError, PromptTooLong, RequestError, UnsupportedStrategy
from decodelab.core.events import Finished, Observer, RunStarted
from decodelab.core.notices import NoEffectWarning
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Generation, Limits, Prompt
from decodelab.engine import generate as engine
from decodelab.engine import scoring
from decodelab.engine.job import check_counts
from decodelab.metrics.likelihood import Score
from decodelab.models import loading
from decodelab.strategy.strategy import Strategy, StrategyLike


def load(
    name: str | Path, *, dtype: str = "auto", device: str = "auto", ignore_unexpected: bool = False
) -> LanguageModel:
    """Load a language model by name.

    The name of a server's model (`openai:http://HOST:PORT/v1#MODEL`; `vllm:`, `sglang:`, `llama:`, `ollama:` and
    `decodelab:` for what it speaks) gives a `RemoteModel`, for `generate` and `score`: it continues texts and is no
    `LanguageModel`, whatever the type says, for the sake of those who load local ones.

    Args:
        name: a shipped model (`decodelab models` lists them), a model directory, a `.yaml` file of a
            `TableModel`, the id of a hub model, `owner/name`, or a server's. A shipped name wins over a directory of
            that name: write `./name` for the directory. `BASE+ADAPTER` is a model with an adapter of peft, a
            directory, merged into its weights.
        dtype: float32, bfloat16, float16, or auto: float32 on CPU, the checkpoint's own elsewhere.
        device: cpu, cuda, cuda:N, mps, or auto: the first there is of CUDA, MPS and CPU.
        ignore_unexpected: load weights although they hold tensors that the configuration has no place for.

    Raises:
        ModelNotFound: when there is no such model.
        ModelFormatError: when its files are incomplete, damaged, in an unsafe format, or do not fit together.
        ModelError: when it cannot be used here: an unsupported architecture, an encoder, no such device.
        RequestError: for a malformed address.

    >>> load("pocket-nano").context_length
    512
    """
    remote = text_model(str(name)) if str(name).strip() else None
    if remote is not None:
        return cast(LanguageModel, remote)
    return loading.load(name, dtype=dtype, device=device, ignore_unexpected=ignore_unexpected)


def generate(
    model: LanguageModel | TextModel | str,
    prompts: Prompt | Sequence[Prompt],
    strategy: StrategyLike = "default",
    *,
    max_new_tokens: int = 128,
    min_new_tokens: int = 0,
    stop: str | Sequence[str] = (),
    stop_token_ids: Sequence[int] = (),
    seed: int = 0,
    observers: Sequence[Observer] = (),
    max_rows: int = 64,
    literal: bool = False,
) -> list[Generation]:
    """Continue prompts under a strategy.

    The result does not depend on the other prompts, their order, `max_rows`, or how many samples are
    asked for (on a real model as far as its own floating-point results do not depend on the batch; on a server as far
    as it honours seeds).

    Args:
        model: a model, or the name of one for `load`.
        prompts: one prompt or several: texts, token id sequences, `Chat`s.
        strategy: in any form of the strategy language.
        max_new_tokens: most new tokens of each continuation.
        min_new_tokens: EOS, stop tokens and stop strings cannot end a continuation before this many tokens.
        stop: strings that end a continuation; the text is cut before the first. The name of a special token stands for
            that token.
        stop_token_ids: further token ids that end a continuation.
        seed: any integer; all random numbers follow from it.
        observers: told of every step (see `decodelab.core.events`); of a server's model, of each prompt that is done.
        max_rows: how many rows (beams, samples) a local model computes at once; bounds the memory.
        literal: whether the names of special tokens in a text prompt, such as `</s>`, are text like any other; the
            tokenizer's own BOS is added all the same. Otherwise a `PromptWarning` tells of them. A server reads
            prompts as it does.

    Returns:
        One Generation a prompt, in order. After Ctrl-C, those that were started, with unfinished
        candidates marked `interrupted`; of a server, those that were finished.

    Raises:
        StrategyError, RequestError, ModelError, EmptySupport: each with one line saying what to do.

    >>> import decodelab as dl
    >>> model = dl.load("pocket-nano")
    >>> out = dl.generate(model, ["Once upon a time"], "top_p=0.9 | sample(n=2)", max_new_tokens=8, seed=1)
    >>> len(out[0].candidates), len(out[0].best.tokens)
    (2, 8)
    """
    remote = text_model(model) if isinstance(model, str) and model.strip() else model
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    if isinstance(remote, TextModel):
        limits = Limits(max_new_tokens, min_new_tokens, stops, tuple(stop_token_ids))
        return continued(remote, engine.as_prompts(prompts), Strategy.of(strategy), limits, seed, observers)
    return engine.generate(
        cast("LanguageModel | str", model), prompts, strategy, max_new_tokens=max_new_tokens,
        min_new_tokens=min_new_tokens, stop=stops, stop_token_ids=stop_token_ids, seed=seed, observers=observers,
        max_rows=max_rows, literal=literal, stacklevel=3,
    )  # fmt: skip


def score(
    model: LanguageModel | TextModel | str,
    prompt: Prompt,
    completion: str | Sequence[int],
    *,
    stride: int | None = None,
    alternatives: int = 0,
) -> Score:
    """The log-probability of a completion after a prompt, token by token.

    Args:
        model: a model, or the name of one for `load`; a server's, if it tells the log-probabilities of texts.
        prompt: text, token ids or a chat; empty text starts from BOS. To a server, text.
        completion: text or token ids; must have at least one token. To a server, text.
        stride: where prompt and completion exceed the context length, score in windows this many tokens apart;
            None raises an error.
        alternatives: how many of the most probable tokens to give for each place.

    Raises:
        RequestError: if the completion is empty.
        UnknownToken: if a token id is outside the vocabulary.
        PromptTooLong: if prompt and completion do not fit the context and there is no stride.
        InvalidParameter: if stride or alternatives are out of range.
        UnsupportedStrategy: for a server that does not tell the log-probabilities of texts.

    >>> import decodelab as dl
    >>> table = {(): {"a": 0.5, "b": 0.5}, ("a",): {"b": 0.25, "</s>": 0.75}}
    >>> found = dl.score(dl.TableModel(["a", "b"], table, bos="<s>"), "", "a b")
    >>> round(found.logprob, 4), found.ranks
    (-2.0794, (1, 2))
    """
    remote = text_model(model) if isinstance(model, str) and model.strip() else model
    if isinstance(remote, TextModel):
        if not isinstance(prompt, str) or not isinstance(completion, str) or stride is not None:
            raise RequestError("a server scores a prompt and a completion given as text, without stride")
        return scored(remote, [(prompt, completion)], alternatives)[0]
    return scoring.score(
        cast("LanguageModel | str", model), prompt, completion, stride=stride, alternatives=alternatives
    )


def scored(model: TextModel, pairs: Sequence[tuple[str, str]], alternatives: int = 0) -> list[Score]:
    """Scores from a model that shows texts alone, in order.

    Raises:
        UnsupportedStrategy: if it does not tell the log-probabilities of texts.
        DecodelabError: of the first pair that fails.
    """
    if not isinstance(model, ScoresTexts):
        raise UnsupportedStrategy(f"{model.name} does not tell the log-probabilities of texts; use a local model")
    running = model.scores(pairs, alternatives)
    found: dict[int, Score] = {}
    try:
        for index, one in running:
            if isinstance(one, DecodelabError):
                raise one
            found[index] = one
    finally:
        running.close()
    return [found[index] for index in sorted(found)]


def continued(
    model: TextModel,
    prompts: Sequence[Prompt],
    strategy: Strategy,
    limits: Limits,
    seed: int,
    observers: Sequence[Observer] = (),
    left_out: dict[int, str] | None = None,
) -> list[Generation]:
    """Continue prompts with a model that shows texts alone; as `generate`.

    Args:
        model, prompts, strategy, limits, seed, observers: as for `generate`.
        left_out: takes the prompts, by index, that are too long, and why; None: they are errors as any other.

    Raises:
        DecodelabError: of the first prompt that fails; the others are abandoned.
    """
    check_counts(limits)
    for note in strategy.no_effects():
        warnings.warn(note, NoEffectWarning, stacklevel=3)
    running = model.generations([TextJob(i, p, strategy, limits, seed) for i, p in enumerate(prompts)])
    for observer in observers:
        observer(RunStarted(tuple(() for _ in prompts), limits.max_new_tokens))
    found: list[Generation] = []
    try:
        for index, generation in running:
            if left_out is not None and isinstance(generation, PromptTooLong):
                left_out[index] = str(generation)
                continue
            if isinstance(generation, DecodelabError):
                raise generation
            found.append(generation)
            for observer in observers:
                observer(Finished(generation))
    except KeyboardInterrupt:  # what is finished is worth having
        pass
    finally:
        running.close()
    return sorted(found, key=lambda generation: generation.index)
