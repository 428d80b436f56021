"""From the parameters of a request to a strategy, limits and a seed."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from decodelab.core.errors import DecodelabError, StrategyError
from decodelab.core.protocols import LanguageModel
from decodelab.core.stage import Stage, brief
from decodelab.core.values import Chat, Limits, Prompt
from decodelab.processors.json_schema import JSONSchema
from decodelab.processors.think import Think
from decodelab.search.beam import Beam
from decodelab.select.best_of import BestOf
from decodelab.server.constraints import constraint_stages
from decodelab.server.errors import ApiError, invalid, naming
from decodelab.server.messages import NamedTool, chat_of
from decodelab.server.parameters import Route, parameters
from decodelab.server.prompts import Reading
from decodelab.server.settings import ServerSettings
from decodelab.server.tool_calls import CallSyntax, Functions, any_call_schema, arguments_schema
from decodelab.server.trust import trusted_strategy
from decodelab.server.watching import Source
from decodelab.strategy.openai import stages_from_openai
from decodelab.strategy.strategy import Strategy

_COMPLETION_TOKENS = 16
"""OpenAI's default of `max_tokens` for completions."""
_OURS = ("best_of", "use_beam_search", "length_penalty", "thinking_token_budget", "seed", "n", "strategy")
"""Sampling parameters that are read here, the others by `stages_from_openai`."""


@dataclass(frozen=True)
class Shown:
    """What of the answer is shown.

    Attributes:
        n: sequences of each prompt, best first.
        stream, usage, progress: whether the answer is streamed, whether its usage is sent at the end, and whether
            the steps of searches are sent whose texts are known at their end only.
        top: most probable tokens at each place; None for no log-probabilities.
        source: whose log-probabilities.
        echo: whether each text begins with its prompt.
        stop_text: whether the stop string that ended a text is part of it.
        token_ids: whether the ids of prompt and answer are shown.
        prompt_top: most probable tokens at each place of the prompt; None for no log-probabilities of it.
    """

    n: int
    stream: bool = False
    usage: bool = False
    progress: bool = False
    top: int | None = None
    source: Source = "model"
    echo: bool = False
    stop_text: bool = False
    token_ids: bool = False
    prompt_top: int | None = None


@dataclass(frozen=True)
class Plan:
    """What a request asks for.

    Attributes:
        prompts: what is continued.
        reading: how it is read.
        strategy: resolved for the model.
        limits: when texts end; `max_new_tokens` is 0 where nothing is generated.
        seed: given, or drawn, and told in the answer.
        priority: the lowest begins first.
        shown: what of the answer is shown.
        functions: of a chat, what may be called.
    """

    prompts: tuple[Prompt, ...]
    reading: Reading
    strategy: Strategy
    limits: Limits
    seed: int
    priority: int
    shown: Shown
    functions: Functions


def plan_of(
    route: Route,
    asked: Mapping[str, Any],
    model: LanguageModel,
    syntax: CallSyntax | None,
    models: Collection[str],
    settings: ServerSettings,
) -> Plan:
    """The plan of a request.

    Args:
        route: where it was sent.
        asked: its parameters, each of the right type.
        model: the model it names.
        syntax: how that model's template writes calls.
        models: the names of all models served.
        settings: how much is taken.

    Raises:
        ApiError: 400, naming the parameter at fault.
    """
    try:
        prompts, functions, called = _prompts(route, asked, model, syntax)
        strategy = _strategy(route, asked, models, settings, called).resolve(model)
    except DecodelabError as error:
        raise naming(error, "strategy" if "strategy" in asked else None, parameters(route)) from error
    n = _shown_sequences(asked, strategy)
    rows = strategy.search.peak_rows
    limits = _limits(route, asked, model, max(1, settings.max_tokens // rows))
    if limits.ignore_eos:
        _check_without_eos(strategy)
    tokens = rows * limits.max_new_tokens
    if tokens > settings.max_tokens:
        raise ApiError(
            400,
            f"{rows} sequences of {limits.max_new_tokens} tokens are {tokens}, this server takes "
            f"{settings.max_tokens} for a request; ask for fewer",
            param="max_tokens",
            code="too_many_tokens",
        )
    shown = _shown(route, asked, n, settings)
    if not limits.max_new_tokens and not shown.echo:
        raise invalid("max_tokens", "max_tokens must be at least 1 without echo, got 0")
    seed = asked.get("seed", secrets.randbits(53))
    reading = Reading(asked.get("add_special_tokens", True), asked.get("truncate_prompt_tokens"))
    return Plan(prompts, reading, strategy, limits, seed, asked.get("priority", 0), shown, functions)


def _prompts(
    route: Route, asked: Mapping[str, Any], model: LanguageModel, syntax: CallSyntax | None
) -> tuple[tuple[Prompt, ...], Functions, list[Stage]]:
    """The prompts, the functions that a chat may call, and the constraint of a call that it must make."""
    if route == "chat":
        chat, functions, called = _chat(asked, model, syntax)
        return (chat,), functions, called
    given: Any = asked["prompt"]
    if isinstance(given, str) or (given and isinstance(given[0], int)):
        return (given,), Functions(), []
    if not given:
        raise invalid("prompt", "prompt must hold at least one prompt, got []; give a text")
    return tuple(given), Functions(), []


def _chat(
    asked: Mapping[str, Any], model: LanguageModel, syntax: CallSyntax | None
) -> tuple[Chat, Functions, list[Stage]]:
    more = _template_options(asked)
    tools, choice = asked.get("tools", []), asked.get("tool_choice", "auto")
    parallel = asked.get("parallel_tool_calls", True)
    names = tuple(tool.function.name for tool in tools)
    if len(set(names)) < len(names):
        raise invalid("tools", "tools must have different names")
    forced = choice.function.name if isinstance(choice, NamedTool) else None
    if forced is None and choice == "required" and len(names) == 1:
        forced = names[0]
    try:
        if choice == "none" or not tools:
            if choice == "required" or forced is not None:
                raise invalid("tool_choice", "tool_choice needs tools; give them, or leave it out")
            return chat_of(asked["messages"], [], **more), Functions(), []
        chat = chat_of(asked["messages"], tools, forced, **more)
        if choice == "auto":
            return chat, Functions(names, parallel=parallel, syntax=syntax), []
        if forced is not None and forced not in names:
            raise invalid("tool_choice", f"tool_choice must be one of {', '.join(names)}, got {brief(forced)}")
        if forced is not None and syntax is not None:
            model.vocab.render_chat(chat)
            return chat, Functions(forced=forced), [JSONSchema(arguments_schema(chat.tools, forced), whitespace=False)]
        allowed = [tool for tool in chat.tools if forced is None or tool["function"]["name"] == forced]
        return (
            replace(chat, tool_choice=None),
            Functions(as_object=True),
            [JSONSchema(any_call_schema(allowed), whitespace=False)],
        )
    except DecodelabError as error:
        param = "tools" if isinstance(error, StrategyError) else "messages"
        raise naming(error, param) from error


def _template_options(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What of a request says how the chat template is asked."""
    begins, continues = asked.get("add_generation_prompt"), asked.get("continue_final_message", False)
    if begins and continues:
        raise invalid("continue_final_message", "continue_final_message cannot be true with add_generation_prompt=true")
    return {
        "add_generation_prompt": True if begins is None else begins,
        "continue_final_message": continues,
        "chat_template_kwargs": asked.get("chat_template_kwargs", {}),
    }


def _check_without_eos(strategy: Strategy) -> None:
    """Refuse `ignore_eos` where something else than the end of texts depends on EOS."""
    search = strategy.search_stage
    bound = next((stage for stage in strategy.stages if stage.constrains), None)
    if bound is None and not (search.samples_by_index or search.takes_argmax):
        bound = search
    if bound is not None:
        raise invalid("ignore_eos", f"ignore_eos is not possible with {bound.name}, which needs EOS; leave one out")


def _strategy(
    route: Route,
    asked: Mapping[str, Any],
    models: Collection[str],
    settings: ServerSettings,
    called: Sequence[Stage],
) -> Strategy:
    constraints = constraint_stages(asked, settings.max_constraint)
    if constraints and called:
        raise invalid("tool_choice", "a call and response_format are both required; leave one out")
    constraints = [*called, *constraints]
    if "strategy" in asked:
        both = [p.name for p in parameters(route).values() if p.role == "sampling" and p.name in asked]
        clash = next((name for name in both if name not in ("strategy", "n", "seed")), None)
        if clash is not None:
            raise invalid(clash, f"{clash} and strategy are both given; write it into the strategy")
        written = trusted_strategy(_written(asked["strategy"]), models, settings.max_constraint)
        return _with(written, constraints)
    n, best_of = asked.get("n", 1), asked.get("best_of")
    plain = {
        p.name: asked[p.name]
        for p in parameters(route).values()
        if p.role == "sampling" and p.name in asked and p.name not in _OURS
    }
    thinking = [Think(asked["thinking_token_budget"])] if "thinking_token_budget" in asked else []
    if asked.get("use_beam_search"):
        if asked.get("temperature", 0) != 0:
            raise invalid("temperature", "temperature must be 0 with use_beam_search")
        width = best_of or n
        stages = stages_from_openai(plain | {"temperature": 0.0})[:-1]
        beam = Beam(width=width, length_penalty=asked.get("length_penalty", 1.0), n=n)
        return Strategy((*constraints, *thinking, *stages, beam))
    if "length_penalty" in asked:
        raise invalid("length_penalty", "length_penalty has no effect without use_beam_search; leave it out")
    if best_of is not None and best_of < n:
        raise invalid("best_of", f"best_of must be at least n, got {best_of} and {n}")
    if best_of is not None and best_of > n:
        drawn = stages_from_openai(plain | {"n": best_of})
        return Strategy((*constraints, *thinking, *drawn, BestOf()))
    return Strategy((*constraints, *thinking, *stages_from_openai(plain | {"n": n})))


def _with(strategy: Strategy, constraints: Sequence[Stage]) -> Strategy:
    """The strategy with constraints before its own processors."""
    at = sum(stage.kind in ("source", "model") for stage in strategy.stages)
    return Strategy((*strategy.stages[:at], *constraints, *strategy.stages[at:]))


_PARTS = ("models", "processors", "stops", "search", "driver", "selection")


def _written(strategy: Any) -> str | Sequence[Any]:
    """A strategy as text or as a list of stages; an object has the stages by their kind."""
    if not isinstance(strategy, Mapping):
        return strategy
    wrong = next((name for name in strategy if name not in _PARTS), None)
    if wrong is not None:
        raise invalid("strategy", f"strategy: an object has {', '.join(_PARTS)}, got {brief(wrong)}")
    stages: list[Any] = []
    for part in _PARTS:
        held = strategy.get(part)
        if held is not None:
            stages += held if isinstance(held, list) else [held]
    return stages


def _shown_sequences(asked: Mapping[str, Any], strategy: Strategy) -> int:
    """How many sequences of each prompt are in the answer."""
    if "strategy" not in asked:
        return asked.get("n", 1)
    available = strategy.search.n
    n = asked.get("n", 1 if strategy.selection is not None else available)
    if n > available:
        raise invalid("n", f"n must be at most {available}, the sequences of {strategy}, got {n}")
    return n


def _limits(route: Route, asked: Mapping[str, Any], model: LanguageModel, default: int) -> Limits:
    named = [name for name in ("max_tokens", "max_completion_tokens") if name in asked]
    if len({asked[name] for name in named}) > 1:
        raise invalid("max_completion_tokens", "max_tokens and max_completion_tokens differ; give one")
    room = model.context_length or 4096
    most = asked[named[0]] if named else min(_COMPLETION_TOKENS if route == "completions" else room, default)
    # More than the context holds is asked for by clients that do not know it, and means as many as there is room for.
    most = min(most, room)
    least = asked.get("min_tokens", 0)
    if least > most:
        raise invalid("min_tokens", f"min_tokens must be at most max_tokens, {most}, got {least}")
    stop = asked.get("stop", ())
    size = model.vocab.size
    wrong = next((token for token in asked.get("stop_token_ids", ()) if token >= size), None)
    if wrong is not None:
        raise invalid("stop_token_ids", f"stop_token_ids must be below {size}, got {wrong}")
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    return Limits(most, least, stops, tuple(asked.get("stop_token_ids", ())), asked.get("ignore_eos", False))


_OPTIONS = ("include_usage", "include_progress")


def _shown(route: Route, asked: Mapping[str, Any], n: int, settings: ServerSettings) -> Shown:
    stream = asked.get("stream", False)
    options = asked.get("stream_options", {})
    if options and not stream:
        raise invalid("stream_options", "stream_options is allowed with stream=true only")
    if wrong := next((name for name in options if name not in _OPTIONS), None):
        raise invalid("stream_options", f"stream_options: allowed are {', '.join(_OPTIONS)}, got {brief(wrong)}")
    if route == "chat":
        top = asked.get("top_logprobs", 0) if asked.get("logprobs") else None
        if asked.get("top_logprobs") and top is None:
            raise invalid("top_logprobs", "top_logprobs needs logprobs=true")
    else:
        top = asked.get("logprobs")
    prompt_top = asked.get("prompt_logprobs")
    for name, wanted in (("top_logprobs" if route == "chat" else "logprobs", top), ("prompt_logprobs", prompt_top)):
        if wanted is not None and wanted > settings.max_logprobs:
            raise invalid(name, f"{name} must be at most {settings.max_logprobs}, got {wanted}")
    if stream and prompt_top is not None:
        raise invalid("prompt_logprobs", "prompt_logprobs is not possible with stream=true; leave one out")
    return Shown(
        n,
        stream,
        options.get("include_usage", False),
        options.get("include_progress", False),
        top,
        asked.get("logprobs_of", "model"),
        asked.get("echo", False),
        asked.get("include_stop_str_in_output", False),
        asked.get("return_token_ids", False),
        prompt_top,
    )
