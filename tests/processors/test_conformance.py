"""`check_processor` passes ours and catches each kind of broken one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import pytest
import torch
from torch import Tensor

from decodelab.core.key import Keys
from decodelab.core.protocols import Vocab
from decodelab.core.stage import Kind, Stage, StatelessProcessor
from decodelab.core.values import Tokens
from decodelab.processors import PROCESSORS
from decodelab.strategy.catalogue import STAGES
from decodelab.testing import check_processor, check_stage

VALUES: dict[str, list[Any]] = {
    "temperature": [0.0, 1e-30, 0.7, 1.0, 1.5, 1e30],
    "top_k": [1, 3, 50],
    "top_p": [1e-9, 0.5, 0.9, 1.0],
    "min_p": [1e-9, 0.1, 1.0],
    "typical_p": [1e-9, 0.2, 0.95, 1.0],
    "epsilon_cutoff": [1e-9, 0.1, 0.5],
    "eta_cutoff": [1e-9, 0.1, 0.9],
    "top_n_sigma": [1e-9, 1.0, 3.0, 1e300],
    "top_a": [1e-9, 0.2, 1.0],
    "top_h": [1e-9, 0.4, 1.0, {"h": 0.9, "candidates": 3}],
    "tfs_z": [1e-9, 0.5, 0.95, 1.0],
    "min_k": [{}, 0.0, 0.5, 1e300],
    "p_less": [{}],
    "xtc": [0.0, 0.5, {"probability": 1.0, "threshold": 0.0}, {"probability": 1.0, "threshold": 0.7}],
    "rank_parity": ["odd", "even"],
    "dynamic_temperature": [
        0.0,
        0.5,
        {"range": 1.0, "exponent": 0.0},
        {"range": 1e308, "temperature": 1e308},
        {"range": 0.0, "temperature": 0.5},
        {"range": 2.0, "exponent": 3.0, "temperature": 0.0},
    ],
    "mirostat": [
        {},
        0.0,
        {"tau": 2.0, "surprise": "truncated"},
        {"tau": 1.0, "eta": 1.0},
        {"tau": 2.0, "version": 1},
        {"tau": 1.0, "version": 1, "surprise": "truncated", "m": 2},
        {"tau": 1e300, "version": 1, "eta": 0.0},
    ],
    "adaptive_p": [0.0, 0.5, 1.0, {"target": 0.3, "decay": 0.0}, {"target": 0.3, "decay": 0.99}],
    "repetition_penalty": [0.5, 1.0, 1.3, 1e300, {"penalty": 1e-300, "prompt": False}, {"penalty": 2.0, "window": 2}],
    "subtractive_penalty": [-1.0, 0.0, 0.7, 1e300, {"penalty": 2.0, "prompt": True, "window": 1}],
    "presence_penalty": [-1.0, 0.0, 0.7, {"penalty": 2.0, "prompt": True, "window": 3}],
    "frequency_penalty": [-1.0, 0.0, 0.7, 1e308, {"penalty": 2.0, "prompt": True, "window": 3}],
    "no_repeat_ngram": [1, 2, 3, {"size": 1, "prompt": False}, {"size": 2, "prompt": False}],
    "dry": [
        0.0,
        0.8,
        {"allowed_length": 1},
        {"multiplier": 1e300, "base": 1e300, "allowed_length": 1},
        {"allowed_length": 1, "window": 4, "sequence_breakers": ["w0"]},
        {"allowed_length": 1, "prompt": False, "sequence_breakers": [0, [0, 0]]},
        {"allowed_length": 1, "sequence_breakers": ["2w1", "w3w"]},
    ],
    "logit_bias": [{"bias": {}}, {"bias": {0: -2.5}}, {"bias": {"w0": 1e30}}, {"bias": [[[0, 0], 2.0], [0, 0.5]]}],
    "ban": [[], 0, "w0", [[0, 0]]],
    "allow": [0, "w0", {"words": [[0, 0]], "eos": False}],
    "regex": ["w1( w2)*", ".*"],
    "json_schema": [{"schema": {"type": "integer"}}, {"schema": True, "whitespace": False}],
    "grammar": ['start: "w0" start | "w1"'],
    "check": ["python", {"checker": "python", "prompt": False, "candidates": None, "look": None}],
    "suppress_at_begin": [0],
    "forced_bos": [0, {"token": 0, "length": 2}],
    "forced_eos": [1, {"at": 3, "tokens": 0}, {"at": 3, "tokens": [0], "prompt": True}],
    "min_new_tokens": [0, 2, {"n": 3, "prompt": True}],
    "exponential_length": [0, {"start": 1, "factor": 2.0}],
    "synthid": [[1], {"keys": [654, 400, -7], "ngram_len": 2, "context_history_size": 2}],
    "think": [{"end": "w0"}, {"budget": 0, "end": "w0", "start": "w0"}, {"budget": 2, "end": "w0", "start": "w0"}],
    "watermark": [{}, 0.5, {"green_fraction": 0.9, "bias": 1e30, "key": -3, "context": 2}],
}
MAY_EMPTY = (
    "check",
    "regex",
    "json_schema",
    "grammar",
    "no_repeat_ngram",
    "ban",
    "allow",
    "suppress_at_begin",
    "forced_bos",
    "forced_eos",
    "min_new_tokens",
    "think",
)


@pytest.mark.parametrize("name", PROCESSORS)
def test_ours_pass(name):
    assert VALUES[name], "a new processor must be tried with values of its own"
    for value in VALUES[name]:
        cls: Any = STAGES.load(name)
        check_processor(cls(**value) if isinstance(value, dict) else cls(value), may_empty=name in MAY_EMPTY)


class Identity:
    """A processor that does nothing; the broken ones below each break one thing."""

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> Any:
        return None

    def apply(self, logits: Tensor, state: Any) -> Tensor:
        return logits

    def update(self, state: Any, logits: Tensor, tokens: Tensor) -> Any:
        return None


class ChangesItsInput(Identity):
    def apply(self, logits, state):
        return logits.mul_(2)


class GivesFloat64(Identity):
    def apply(self, logits, state):
        return logits.double()


class GivesAnotherShape(Identity):
    def apply(self, logits, state):
        return logits[:, :-1]


class DividesNothingByNothing(Identity):
    def apply(self, logits, state):
        return logits - logits.logsumexp(-1, keepdim=True) * (logits - logits)


class GivesInfinity(Identity):
    def apply(self, logits, state):
        return logits.scatter(1, logits.argmax(1, keepdim=True), torch.inf)


class BringsTokensBack(Identity):
    def apply(self, logits, state):
        return logits.clamp(min=-50)


class LeavesNothing(Identity):
    def apply(self, logits, state):
        return logits.masked_fill(logits <= 0, -torch.inf)


class LooksAtTheBatch(Identity):
    def apply(self, logits, state):
        return logits + (logits - logits.mean(0)).nan_to_num(0, 0, 0).clamp(-1, 1)


class KnowsItsPlace(Identity):
    def apply(self, logits, state):
        return logits * (1 + torch.arange(len(logits)))[:, None]


class Remembers(Identity):
    """State in the object: a second call sees another temperature."""

    def __init__(self) -> None:
        self.calls = 0

    def apply(self, logits, state):
        self.calls += 1
        return logits / self.calls


class Counts(Identity):
    """A right stateful processor: the count of chosen tokens, rows of a tensor."""

    def init(self, prompts, vocab, keys):
        return torch.zeros(len(prompts), vocab.size)

    def apply(self, logits, state):
        return logits - state.clamp(max=20)

    def update(self, state, logits, tokens):
        return state.scatter_add(1, tokens[:, None], torch.ones(len(tokens), 1))


class CountsInPlace(Counts):
    """Forks share nothing, but the state that was given is changed."""

    def apply(self, logits, state):
        return logits - 0.1 * state

    def update(self, state, logits, tokens):
        return state.scatter_add_(1, tokens[:, None], torch.ones(len(tokens), 1))


class SharesItsState(Identity):
    """`state[rows]` hands the same list to both forks."""

    class State(list):
        def __getitem__(self, rows):  # pyright: ignore[reportIncompatibleMethodOverride]
            return type(self)(list.__getitem__(self, int(r)) for r in rows)

    def init(self, prompts, vocab, keys):
        return self.State([] for _ in prompts)

    def apply(self, logits, state):
        return logits - 0.5 * torch.tensor([float(len(s)) for s in state])[:, None] * torch.arange(logits.shape[1])

    def update(self, state, logits, tokens):
        for row, token in zip(state, tokens.tolist(), strict=True):
            list.append(row, token)
        return state


class ForgetsToFork(Counts):
    """Keeps the running count in itself, by row number: wrong once rows are reordered."""

    def init(self, prompts, vocab, keys):
        return torch.zeros(len(prompts), vocab.size)

    def update(self, state, logits, tokens):
        return torch.zeros_like(state).index_fill(1, tokens, 1.0)


class FailsWithoutRows(Counts):
    """The engine updates the states when the last row has ended."""

    def update(self, state, logits, tokens):
        tokens.max()
        return super().update(state, logits, tokens)


class ChangesTheTokens(Identity):
    def update(self, state, logits, tokens):
        tokens.zero_()


class ChangesTheLogitsItIsUpdatedWith(Identity):
    def update(self, state, logits, tokens):
        logits.zero_()


class OutcomesBeyondCertainty(Identity):
    def outcomes(self, logits, state):
        return [(0.7, logits), (0.7, logits)]


class OutcomesItDoesNotApply(Identity):
    def outcomes(self, logits, state):
        return [(1.0, logits - 1)]


class ReadingsOfTheWholeBatch(Identity):
    def observe(self, logits, state):
        return {"largest": logits.max()}


class ChangesTheLogitsItIsObservedWith(Identity):
    def observe_choice(self, logits, state, tokens):
        return {"chosen": logits.log_().gather(1, tokens[:, None])[:, 0]}


@dataclass(frozen=True)
class OvertakesTheArgmax(StatelessProcessor):
    """Says that the argmax is kept, and turns the distribution round."""

    name: ClassVar[str] = "overtakes"
    source: ClassVar[str] = "this test"

    def apply(self, logits: Tensor, state: None) -> Tensor:
        return torch.where(logits.isfinite(), -logits, logits)


@dataclass(frozen=True)
class SaysItHasNoEffect(OvertakesTheArgmax):
    keeps_argmax: ClassVar[bool] = False

    def no_effect(self) -> str:
        return "nothing happens"


def test_a_right_stateful_processor_passes():
    check_processor(Identity())
    check_processor(Counts())


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (ChangesItsInput(), "must not change its input"),
        (GivesFloat64(), "must give float32"),
        (GivesAnotherShape(), "must keep the shape"),
        (DividesNothingByNothing(), "must not give NaN"),
        (GivesInfinity(), r"must not give \+inf"),
        (BringsTokensBack(), "must not bring back a removed token"),
        (LeavesNothing(), "must leave at least one token"),
        (LooksAtTheBatch(), "must not depend on the rows beside it"),
        (KnowsItsPlace(), "rows in another order"),
        (Remembers(), "the same result twice"),
        (CountsInPlace(), "leave the old one as it was"),
        (SharesItsState(), r"state\[rows\] must hold all"),
        (ForgetsToFork(), r"state\[rows\] must hold all"),
        (FailsWithoutRows(), "when no rows are left"),
        (ChangesTheTokens(), "update must not change its input"),
        (ChangesTheLogitsItIsUpdatedWith(), "update must not change its input"),
        (OutcomesBeyondCertainty(), "sum to 1"),
        (OutcomesItDoesNotApply(), "one of the outcomes"),
        (ReadingsOfTheWholeBatch(), "one number a row"),
        (ChangesTheLogitsItIsObservedWith(), "must not change the logits"),
        (OvertakesTheArgmax(), "keeps_argmax"),
        (SaysItHasNoEffect(), "no effect, but changes the distribution"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_each_kind_of_broken_processor_is_caught_by_its_own_rule(broken, rule):
    with pytest.raises(AssertionError, match=rule) as error:
        check_processor(broken)
    assert "\n" not in str(error.value)


def test_a_constraint_may_remove_everything_when_that_is_said():
    class Nothing(Identity):
        def apply(self, logits, state):
            return torch.full_like(logits, -torch.inf)

    with pytest.raises(AssertionError, match="leave at least one"):
        check_processor(Nothing())
    check_processor(Nothing(), may_empty=True)


@dataclass
class NotFrozen(StatelessProcessor):
    """A stage that can be changed."""

    name: ClassVar[str] = "not_frozen"
    source: ClassVar[str] = "this test"

    def apply(self, logits: Tensor, state: None) -> Tensor:
        return logits


@dataclass(frozen=True)
class NotDocumented(StatelessProcessor):
    """A stage with a parameter that says nothing of itself."""

    x: float = 1.0

    name: ClassVar[str] = "not_documented"
    source: ClassVar[str] = "this test"


@dataclass(frozen=True)
class WithoutSource(Stage):
    """A stage from nowhere."""

    name: ClassVar[str] = "without_source"
    kind: ClassVar[Kind] = "processor"


@dataclass(frozen=True)
class NeverEqual(Stage):
    """A stage that differs from its copy."""

    x: Annotated[float, "anything"] = 0.0
    made: Annotated[object, "hidden"] = field(default_factory=object, init=False)

    name: ClassVar[str] = "never_equal"
    kind: ClassVar[Kind] = "processor"
    source: ClassVar[str] = "this test"


@pytest.mark.parametrize(
    ("stage", "rule"),
    [
        (NotFrozen(), "must be a frozen dataclass"),
        (NotDocumented(), "must document its parameter x"),
        (WithoutSource(), "must set source"),
        (NeverEqual(), "must be equal to one with the same parameters"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_each_kind_of_broken_stage_is_caught(stage, rule):
    with pytest.raises(AssertionError, match=rule):
        check_stage(stage)
