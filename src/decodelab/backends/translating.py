"""From a strategy to what a request to a server says of it: exactly, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from decodelab.backends.dialects import DIALECTS, Dialect, Taken
from decodelab.core.errors import UnsupportedStrategy
from decodelab.core.stage import Stage, value_text
from decodelab.core.values import Limits
from decodelab.strategy.strategy import Strategy

_Asked = TypeVar("_Asked")
_Found = TypeVar("_Found")

_SAMPLED = ("sample", "greedy")
"""The searches that a server runs by itself."""


def sampling(dialect: Dialect, strategy: Strategy) -> dict[str, Any]:
    """The parameters of a request that say how tokens are drawn.

    Stages are translated in the order in which the server applies them; of others the order is refused, unless they
    commute. What has no effect before `greedy` is left out. `default` stands for the server's own settings.

    Raises:
        UnsupportedStrategy: naming the stage, and who could do it.

    >>> from decodelab.backends.dialects import OPENAI
    >>> sampling(OPENAI, Strategy.of("temperature=0.7 | top_p=0.9"))
    {'temperature': 0.7, 'top_p': 0.9}
    >>> sampling(OPENAI, Strategy.of("top_p=0.9 | temperature=0.7"))
    Traceback (most recent call last):
    decodelab.core.errors.UnsupportedStrategy: openai: temperature=0.7 after top_p=0.9 is not the order of ...
    """
    return _exactly(dialect, strategy, _sampling)


def _sampling(dialect: Dialect, strategy: Strategy) -> dict[str, Any]:
    _check_searched(strategy)
    processors = [stage for stage in strategy.stages if stage.kind == "processor"]
    greedy = strategy.search_stage.takes_argmax
    if strategy.stages[0].kind == "source":
        if processors:
            raise _refused(processors[0], f"default leaves the settings to {dialect.title}, whose order is not known")
        return dict(dialect.greedy) if greedy else {}
    processors = [s for s in processors if s.no_effect() is None and not (greedy and s.keeps_argmax)]
    body = _copied(dialect.neutral)
    order: list[str] = []
    for stage in _checked(dialect, processors):
        taken = dialect.stages[stage.name]
        for name, value in _values(dialect, taken, stage).items():
            put(body, name, value)
        if taken.sampler is not None and taken.sampler not in order:
            order.append(taken.sampler)
    if greedy:
        for name, value in dialect.greedy.items():
            put(body, name, value)
        order += [name for name in dialect.greedy if dialect.order is not None]
    if dialect.order is not None:
        body[dialect.order] = order
    return body


def limited(dialect: Dialect, limits: Limits, *, chat: bool) -> dict[str, Any]:
    """The parameters of a request that say when texts end, besides stop strings.

    Raises:
        UnsupportedStrategy: for a limit that the server does not have.
    """
    body = _exactly(dialect, limits, _limited)
    put(body, dialect.max_tokens[chat], limits.max_new_tokens)
    return body


def _limited(dialect: Dialect, limits: Limits) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, value, parameter in (
        ("min_new_tokens", limits.min_new_tokens, dialect.min_tokens),
        ("stop_token_ids", list(limits.stop_token_ids), dialect.stop_token_ids),
    ):
        if value and parameter is None:
            raise _Refused(f"{dialect.title} has no {name}; leave it out")
        if value and parameter is not None:
            put(body, parameter, value)
    return body


def _check_searched(strategy: Strategy) -> None:
    """Refuse stages that need more than texts, and searches that no server and no driver of texts runs.

    Raises:
        _Refused: naming the stage.
    """
    for stage in strategy.stages:
        if stage.kind in ("model", "stop"):
            raise _refused(stage, "it needs the tokens as they are generated")
        if stage.kind == "driver" and not stage.draws_in_windows:
            raise _refused(stage, "it says how a local model computes")
    search = strategy.search_stage
    if search.name not in _SAMPLED and not search.searches_in_rounds:
        raise _refused(search, "it needs the logits of each step")


def _checked(dialect: Dialect, processors: list[Stage]) -> Iterator[Stage]:
    """The processors, each checked against the table and the order.

    Raises:
        _Refused: naming one.
    """
    at, before = 0, list[Stage]()
    for stage in processors:
        taken = dialect.stages.get(stage.name)
        if taken is None:
            raise _refused(stage, f"{dialect.title} takes {', '.join(dialect.stages)}")
        for name, value in taken.only.items():
            if getattr(stage, name) != value:
                raise _refused(stage, f"{dialect.title} has {name}={value_text(value)} only")
        for other in before:
            _check_pair(dialect, other, stage)
        if taken.sampler is not None and before:
            _check_sampler(dialect, before, stage)
        at = max(at, taken.first)
        if at > taken.last:
            order = sorted(dialect.stages, key=lambda name: dialect.stages[name].first)
            raise _Refused(f"{stage} after {before[-1]} is not the order of {dialect.title}: {', '.join(order)}")
        before.append(stage)
        yield stage


def _check_pair(dialect: Dialect, other: Stage, stage: Stage) -> None:
    """Refuse two stages that no request has both."""
    if other.name == stage.name:
        raise _refused(stage, f"a request has it once, and {other} is before it")
    clash = dialect.clashes.get((other.name, stage.name)) or dialect.clashes.get((stage.name, other.name))
    if clash is not None:
        raise _refused(stage, f"not beside {other}: {clash}")


def _check_sampler(dialect: Dialect, before: list[Stage], stage: Stage) -> None:
    """Refuse parts of one sampler that are apart, in another order than it has, or with settings of their own."""
    taken = dialect.stages[stage.name]
    parts = [other for other in before if dialect.stages[other.name].sampler == taken.sampler]
    if not parts:
        return
    last = dialect.stages[before[-1].name]
    if last.sampler != taken.sampler or last.within > taken.within:
        raise _refused(stage, f"{taken.sampler} is one sampler: write it directly beside {parts[-1]}, first")
    shared = set(taken.fields) & set(last.fields)
    if any(getattr(stage, taken.fields[n]) != getattr(parts[-1], last.fields[n]) for n in shared):
        raise _refused(stage, f"{taken.sampler} is one sampler: {', '.join(sorted(shared))} must be equal")


def _values(dialect: Dialect, taken: Taken, stage: Stage) -> dict[str, Any]:
    """What a request says of a stage."""
    found: dict[str, Any] = {}
    for name, own in taken.fields.items():
        value = getattr(stage, own)
        if taken.value in ("token map", "token pairs"):
            value = _biases(dialect, stage, value, pairs=taken.value == "token pairs")
        elif taken.value == "schema":
            value = json.loads(value)
        elif taken.value == "response format":
            schema = {"name": "answer", "schema": json.loads(value), "strict": True}
            value = {"type": "json_schema", "json_schema": schema}
        found[name] = -1 if value is None else list(value) if isinstance(value, tuple) else value
    return found


def _biases(dialect: Dialect, stage: Stage, bias: Any, *, pairs: bool) -> Any:
    """Biases by token id: of texts, nobody here knows the tokens."""
    listed: list[Any] = []
    for word, value in bias:
        if not isinstance(word, int):
            raise _refused(stage, f"only the server knows the tokens of {word!r}; give token ids")
        if any(word == other for other, _ in listed):
            raise _refused(stage, f"token {word} is there twice")
        listed.append([word, value])
    return listed if pairs else {str(word): value for word, value in listed}


class _Refused(Exception):
    """A dialect cannot do what is asked; its text says why."""


def _refused(stage: Stage, why: str) -> _Refused:
    return _Refused(f"{stage} cannot be asked for: {why}")


def _exactly(dialect: Dialect, asked: _Asked, translate: Callable[[Dialect, _Asked], _Found]) -> _Found:
    """What a translation gives, or who else could do what it refuses.

    Raises:
        UnsupportedStrategy: if it refuses.
    """
    try:
        return translate(dialect, asked)
    except _Refused as refused:
        able = [f"{other.name}:" for other in DIALECTS.values() if other.whole or _can(other, asked, translate)]
        raise UnsupportedStrategy(f"{dialect.name}: {refused}; use {', '.join(able)} or a local model") from None


def _can(dialect: Dialect, asked: _Asked, translate: Callable[[Dialect, _Asked], object]) -> bool:
    try:
        translate(dialect, asked)
    except _Refused:
        return False
    return True


def put(body: dict[str, Any], name: str, value: Any) -> None:
    """Set a parameter of a request; dots lead into nested ones."""
    *outer, last = name.split(".")
    for part in outer:
        body = body.setdefault(part, {})
    body[last] = value


def _copied(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in body.items()}
