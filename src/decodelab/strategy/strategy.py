"""`Strategy`: processors, a search and perhaps a selection, as pure data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast, get_args

from decodelab.core.call import Call, made
from decodelab.core.capabilities import NEEDS, Need, RunnerName
from decodelab.core.errors import StrategyError, StrategySyntaxError, UnknownParameter
from decodelab.core.protocols import (
    AsksRewardModel,
    Composition,
    DrawsInWindows,
    LanguageModel,
    Processor,
    RewardReading,
    Search,
    SearchesInRounds,
    Selection,
    Stop,
)
from decodelab.core.stage import Kind, Pipeline, Stage, brief, plain
from decodelab.io.json import parse_json
from decodelab.io.yaml import RepeatedKey, unique_keys
from decodelab.scorers.catalogue import find_scorer
from decodelab.search.sample import Sample
from decodelab.search.speculative import Speculative
from decodelab.strategy.catalogue import STAGES
from decodelab.strategy.default import stages_from_generation_config
from decodelab.strategy.grammar import NOTHING, StageSpec, parse_stages
from decodelab.strategy.llama_cpp import stages_from_llama_cpp
from decodelab.strategy.openai import stages_from_openai

_ORDER: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Strategy:
    """How to decode: `model* | processor* | stop* | search | driver? | selection?`.

    Stages run in the order written. Without a search the strategy samples once. `default` may stand first,
    for the model's own settings, until `resolve` replaces it.

    Raises:
        StrategyError: if the stages are in an order that means nothing.

    >>> s = Strategy.of("temperature=0.8 | top_p=0.9")
    >>> str(s)
    'temperature=0.8 | top_p=0.9 | sample'
    >>> Strategy.of(str(s)) == s == Strategy.of(s.to_json())
    True
    """

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        """Check the order and add the default search."""
        if not self.stages:
            raise StrategySyntaxError("a strategy needs at least one stage; write for example 'greedy'")
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            twice = before.kind == after.kind and after.kind not in ("model", "processor", "stop")
            if _ORDER.index(before.kind) > _ORDER.index(after.kind) or twice:
                raise StrategyError(
                    f"{after.name} ({after.kind}) cannot come after {before.name} ({before.kind}); "
                    "the order is default | models | processors | stops | search | driver | selection"
                )
        if all(s.kind != "search" for s in self.stages) and self.stages[0].kind != "source":
            at = sum(s.kind in ("model", "processor", "stop") for s in self.stages)
            object.__setattr__(self, "stages", (*self.stages[:at], Sample(), *self.stages[at:]))

    @staticmethod
    def of(what: str | Strategy | Stage | Pipeline | Sequence[Any]) -> Strategy:
        """Read any form of a strategy: text, stages joined by `|`, the JSON or YAML list, a strategy itself.

        Raises:
            StrategyError: one of its children, naming what is wrong and what would be right.
        """
        if isinstance(what, Strategy):
            return what
        return Strategy(tuple(one if isinstance(one, Stage) else build_stage(one) for one in stage_specs(what)))

    @staticmethod
    def from_generation_config(config: Mapping[str, Any]) -> Strategy:
        """The strategy transformers would run for a generation config (a mapping of its settings).

        Raises:
            UnsupportedStrategy: for an unsupported setting, naming it.

        >>> str(Strategy.from_generation_config({"num_beams": 3, "length_penalty": 0.6}))
        'beam(width=3, length_penalty=0.6)'
        """
        return Strategy(tuple(stages_from_generation_config(config)))

    @staticmethod
    def from_llama_cpp(settings: Mapping[str, Any]) -> Strategy:
        """The strategy llama.cpp would run for its sampling settings, by any of its names for them.

        Raises:
            UnsupportedStrategy: for an unsupported setting, naming it.
            InvalidParameter: for an unknown setting, with the nearest known one.

        >>> str(Strategy.from_llama_cpp({"temp": 0.7, "xtc_probability": 0.5, "top_p": 1.0}))
        'top_k=40 | min_p=0.05 | xtc=0.5 | temperature=0.7 | sample'
        >>> str(Strategy.from_llama_cpp({"mirostat": 2, "mirostat_tau": 3.0, "top_k": 40, "temp": 1.0}))
        'mirostat(tau=3.0, surprise=truncated) | sample'
        """
        return Strategy(tuple(stages_from_llama_cpp(settings)))

    @staticmethod
    def from_openai(parameters: Mapping[str, Any]) -> Strategy:
        """The strategy vLLM would run for parameters of the OpenAI API, with its own additions to them.

        Raises:
            UnsupportedStrategy: for an unsupported parameter, naming it.
            InvalidParameter: for an unknown parameter, with the nearest known one.

        >>> str(Strategy.from_openai({"temperature": 0, "logit_bias": {"17": -100}, "max_tokens": 10}))
        'logit_bias=[[17, -100.0]] | greedy'
        """
        return Strategy(tuple(stages_from_openai(parameters)))

    @staticmethod
    def from_json(text: str) -> Strategy:
        """Read the JSON text that `json.dumps(strategy.to_json())` writes.

        Raises:
            StrategySyntaxError: if it is not JSON.
        """
        try:
            data = parse_json(text, finite=False)
        except ValueError as error:
            raise StrategySyntaxError(f"strategy is not JSON: {error}; write a list of stages") from None
        return Strategy.of(data)

    @staticmethod
    def from_yaml(text: str) -> Strategy:
        """Read the YAML list of stages.

        Raises:
            StrategySyntaxError: if it is not YAML.

        >>> str(Strategy.from_yaml("[temperature: 0.8, top_p: 0.9, sample: {n: 4}]"))
        'temperature=0.8 | top_p=0.9 | sample(n=4)'
        """
        import yaml

        try:
            data = yaml.load(text, Loader=unique_keys(yaml.SafeLoader))
        except RepeatedKey as error:
            raise StrategySyntaxError(f"strategy: {error}; remove one, or write a list of stages") from None
        except RecursionError:
            raise StrategySyntaxError("strategy is not YAML: nested too deeply; write a list of stages") from None
        except Exception as error:  # PyYAML raises whatever Python does for scalars such as 2001-99-99 or !!int x
            reason = " ".join(str(error).split())
            raise StrategySyntaxError(f"strategy is not YAML: {reason}; write a list of stages") from None
        return Strategy.of(data)

    def to_json(self) -> list[dict[str, dict[str, Any]]]:
        """The strategy as a JSON-ready list with every parameter written out."""
        return [{s.name: {p.name: plain(getattr(s, p.name)) for p in s.parameters()}} for s in self.stages]

    def to_yaml(self) -> str:
        """The strategy as YAML text."""
        import yaml

        return yaml.safe_dump(self.to_json(), sort_keys=False)

    def __str__(self) -> str:
        """The strategy in the strategy language; parsing it gives the same strategy."""
        return str(Pipeline(self.stages))

    @property
    def compositions(self) -> tuple[Composition, ...]:
        """The stages that make another model of the one that is decoded, in order."""
        return tuple(cast(Composition, s) for s in self.stages if s.kind == "model")

    @property
    def processors(self) -> tuple[Processor, ...]:
        """The processors in order (without those `default` stands for)."""
        return tuple(cast(Processor, s) for s in self.stages if s.kind == "processor")

    @property
    def stops(self) -> tuple[Stop, ...]:
        """The stages that end texts, in order."""
        return tuple(cast(Stop, s) for s in self.stages if s.kind == "stop")

    @property
    def search_stage(self) -> Stage:
        """The search as a stage, for what it declares (sampling once, where `default` has not been resolved)."""
        return next((s for s in self.stages if s.kind == "search"), Sample())

    @property
    def search(self) -> Search:
        """The search as the engine runs it."""
        return cast(Search, self.search_stage)

    @property
    def runner(self) -> RunnerName:
        """How the forward passes are made: as the driver says, or else the search."""
        return (self.driver or self.search_stage).runner

    @property
    def needs(self) -> Need:
        """What the strategy needs from a back end: the most that any of its stages needs."""
        needed = {s.needs for s in self.stages}
        return next(need for need in NEEDS if need in needed)

    @property
    def deterministic(self) -> bool:
        """Whether the result is the same under every seed.

        >>> Strategy.of("beam(width=3)").deterministic, Strategy.of("xtc=0.5 | greedy").deterministic
        (True, False)
        """
        return all(s.deterministic() for s in self.stages)

    @property
    def driver(self) -> Stage | None:
        """The stage that says how forward passes are made, or how many samples are drawn, if any."""
        return next((s for s in self.stages if s.kind == "driver"), None)

    @property
    def speculative(self) -> Speculative | None:
        """The driver, if it is one of speculative decoding."""
        return cast(Speculative, self.driver) if self.driver and self.driver.runner == "speculative" else None

    @property
    def windowed(self) -> DrawsInWindows | None:
        """The driver, if it is one that draws in windows."""
        return cast(DrawsInWindows, self.driver) if self.driver and self.driver.draws_in_windows else None

    @property
    def in_rounds(self) -> SearchesInRounds | None:
        """The search, if it is one that draws texts in rounds."""
        return cast(SearchesInRounds, self.search_stage) if self.search_stage.searches_in_rounds else None

    @property
    def selection(self) -> Selection | None:
        """The selection, if any."""
        return next((cast(Selection, s) for s in self.stages if s.kind == "selection"), None)

    @property
    def judge(self) -> str | LanguageModel | None:
        """The model that the selection asks instead of the one decoded, or its name; None for no other."""
        return next((judge for s in self.stages if (judge := s.judge_model()) is not None), None)

    @property
    def reward_models(self) -> tuple[tuple[str, RewardReading], ...]:
        """The reward models that its scorers ask, by name, and how each is asked.

        >>> [name for name, _ in Strategy.of("best_of(by=reward(model=pocket-verifier))").reward_models]
        ['pocket-verifier']
        """
        asked = (s.asks_scorer() for s in self.stages)
        scorers = (find_scorer(scorer) for scorer in asked if scorer is not None)
        return tuple(scorer.reward_model() for scorer in scorers if isinstance(scorer, AsksRewardModel))

    def resolve(self, model: LanguageModel) -> Strategy:
        """The strategy with `default` replaced by the model's own settings.

        Raises:
            UnsupportedStrategy: if the model's settings contain an unsupported one.
        """
        if self.stages[0].kind != "source":
            return self
        own = stages_from_generation_config(model.generation_config)
        if any(s.kind == "search" for s in self.stages):
            own = [s for s in own if s.kind != "search"]
        # Sorting is stable: of one kind, those `default` stands for come first.
        return replace(self, stages=tuple(sorted((*own, *self.stages[1:]), key=lambda s: _ORDER.index(s.kind))))

    def no_effects(self) -> list[str]:
        """Every term that changes nothing, and why.

        >>> Strategy.of("temperature=0.5 | greedy").no_effects()
        ['temperature=0.5: has no effect before greedy, which takes the argmax']
        """
        notes = [f"{s}: {why}" for s in self.stages if (why := s.no_effect())]
        if self.search_stage.takes_argmax:
            notes += [
                f"{s}: has no effect before {self.search_stage.name}, which takes the argmax"
                for s in self.stages
                if s.keeps_argmax and not s.no_effect()
            ]
        if self.selection is not None and self.search.n == 1:
            notes.append(f"{self.stages[-1]}: nothing to select from, the search returns one candidate")
        if self.windowed is not None and self.windowed.window >= self.search.n:
            notes.append(f"{self.driver}: nothing to save, its first window holds all {self.search.n} samples")
        return notes

    def explain(self, model: LanguageModel | None = None) -> str:
        """The effective configuration as text: every stage and parameter, its source, what has no effect."""
        effective = self.resolve(model) if model is not None else self
        lines = [str(effective)]
        if effective != self:
            lines.append(f"  (written as: {self})")
        for i, stage in enumerate(effective.stages, 1):
            lines.append(f"{i}. {stage.name} ({stage.kind}): {summary(type(stage))}")
            for p in stage.parameters():
                value = getattr(stage, p.name)
                mark = "" if p.required else " (default)" if value == p.default else f" (default {p.default})"
                lines.append(f"     {p.name} = {value}{mark}: {p.doc}")
            lines.append(f"     source: {stage.source}")
        most = [stage.name for stage in effective.stages if stage.needs == effective.needs]
        lines.append(f"needs: {effective.needs}" + ("" if effective.needs == "text" else f" ({', '.join(most)})"))
        lines += [f"note: {note}" for note in effective.no_effects()]
        return "\n".join(lines)


StrategyLike = str | Strategy | Stage | Pipeline | Sequence[Any]
"""Every form in which a strategy can be given."""


def parse(text: str) -> Strategy:
    """Read a strategy in the strategy language; `parse(str(s)) == s` for every strategy s.

    Raises:
        StrategyError: one of its children, naming what is wrong and what would be right.

    >>> parse("repeat_penalty=1.2")
    Traceback (most recent call last):
    decodelab.core.errors.UnknownStage: unknown stage 'repeat_penalty'; did you mean 'repetition_penalty'?
    """
    return Strategy.of(text)


def summary(stage: type[Stage]) -> str:
    """The first sentence of a stage's docstring."""
    return (stage.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ").strip()


def build_stage(spec: StageSpec) -> Stage:
    """Make a stage from its written form, refusing unknown, missing and repeated parameters.

    Raises:
        UnknownStage, UnknownParameter, InvalidParameter: with the nearest known name or the one missing.
    """
    cls = STAGES.load(spec.name)
    known = [p.name for p in cls.parameters()]
    arguments = dict(spec.arguments)
    if spec.first is not NOTHING:
        if not known:
            raise UnknownParameter(
                f"{spec.name} takes no parameters, got {brief(spec.first)}; write just {spec.name!r}"
            )
        arguments[known[0]] = spec.first
    return made(cls, Call(spec.name, arguments))


def stage_specs(what: str | Stage | Pipeline | Sequence[Any]) -> list[StageSpec | Stage]:
    """The stages of any form of a strategy as they are written, before anything is made of them.

    Raises:
        StrategySyntaxError: for what is no form of a strategy.

    >>> [spec.name for spec in stage_specs(["top_k=5", {"sample": {"n": 2}}])]
    ['top_k', 'sample']
    """
    if isinstance(what, Stage):
        return [what]
    if isinstance(what, Pipeline):
        return list(what.stages)
    if isinstance(what, str):
        return list(parse_stages(what))
    if isinstance(what, Sequence):
        return [spec for item in what for spec in _item_specs(item)]
    raise StrategySyntaxError(
        f"a strategy is text, stages or a list of stages, got {type(what).__name__}; write 'top_p=0.9'"
    )


def _item_specs(item: Any) -> list[StageSpec | Stage]:
    """Stages of one item of the JSON or YAML list: a string in the language, or {name: parameters}."""
    if isinstance(item, Stage):
        return [item]
    if isinstance(item, str):
        return list(parse_stages(item))
    if isinstance(item, Mapping) and len(item) == 1:
        name, parameters = next(iter(item.items()))
        if isinstance(name, str):
            if isinstance(parameters, Mapping):
                return [StageSpec(name, NOTHING, {str(k): v for k, v in parameters.items()})]
            return [StageSpec(name, NOTHING if parameters is None else parameters, {})]
    raise StrategySyntaxError(
        f"a stage in a list is text or a name with its parameters, got {brief(item)}; write {{top_p: 0.9}}"
    )
