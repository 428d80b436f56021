"""`compose`: the models that stages such as `contrast` and `guidance` make of another."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from decodelab.core.errors import UnsupportedStrategy
from decodelab.core.protocols import Composition, EncoderDecoder, LanguageModel, Network, RewardModel
from decodelab.models.loading import load, load_reward
from decodelab.search.sample import Sample
from decodelab.strategy.strategy import Strategy, StrategyLike


class Composer:
    """Composes models from one model and others by name, and loads what scorers ask; each of those is loaded once.

    The other models are loaded onto the device of the first.

    Args:
        model: the model that strategies decode.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        device = str(model.device) if isinstance(model, Network) else "auto"
        self.load = functools.cache(functools.partial(load, device=device))
        self._load_reward = functools.cache(functools.partial(load_reward, device=device))
        self._made: dict[tuple[Composition, ...], LanguageModel] = {(): model}

    def __call__(self, compositions: Sequence[Composition]) -> LanguageModel:
        """The model that these stages make, in order.

        Raises:
            ModelError: if a part cannot be loaded, or has a different vocabulary.
            StrategyError: if the model is not one they can be made of.
        """
        asked = tuple(compositions)
        if asked not in self._made:
            model = self(asked[:-1])
            _refuse_encoder_decoder(asked[-1], model)
            self._made[asked] = asked[-1].compose(model, functools.partial(self._part, asked[-1]))
        return self._made[asked]

    def rewards(self, strategy: Strategy) -> dict[str, RewardModel]:
        """The reward models that the scorers of a strategy ask, by name.

        Raises:
            ModelError: if one cannot be loaded.
            InvalidParameter: if one does not have the label that is asked for.
        """
        found: dict[str, RewardModel] = {}
        for name, reading in strategy.reward_models:
            found[name] = self._load_reward(name)
            found[name].check(reading)
        return found

    def _part(self, composition: Composition, name: str) -> LanguageModel:
        """A further model that a composition names."""
        model = self.load(name)
        _refuse_encoder_decoder(composition, model)
        return model


def _refuse_encoder_decoder(composition: Composition, model: LanguageModel) -> None:
    """Refuse a model whose new tokens do not follow its prompt: parts would need different decoder inputs."""
    if isinstance(model, EncoderDecoder):
        raise UnsupportedStrategy(
            f"{composition}: {model.name} is an encoder-decoder model, which model stages do not support; "
            "use a decoder-only one"
        )


def compose(model: LanguageModel | str, strategy: StrategyLike) -> LanguageModel:
    """The model that the stages of a strategy make, such as `contrast` and `guidance`, to score with or inspect.

    `generate` and `Engine` compose by themselves.

    Args:
        model: a model, or the name of one for `load`.
        strategy: stages that make models, and nothing else.

    Raises:
        UnsupportedStrategy: if there are processors, a search or other stages.
        ModelError: if a part cannot be loaded, or has a different vocabulary.

    >>> import decodelab as dl
    >>> both = dl.compose("pocket-small", "mix(models=[pocket-nano])")
    >>> both.name
    'pocket-small with mix(models=[pocket-nano])'
    >>> dl.score(both, "2 + 3 =", " 5").logprob < 0
    True
    """
    plan = Strategy.of(strategy)
    for stage in plan.stages:
        if stage.kind != "model" and stage != Sample():
            raise UnsupportedStrategy(
                f"{stage} ({stage.kind}) is not a model stage; keep only contrast, dola, guidance and mix"
            )
    return Composer(load(model) if isinstance(model, str) else model)(plan.compositions)
