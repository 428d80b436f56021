"""Exceptions at every call of a stage and a model: the jobs they concern fail by name, all others are as if alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import decodelab as dl
from decodelab.core.errors import EngineStopped, ForwardFailed, MalformedLogits, ScorerFailed, StageFailed
from decodelab.core.events import Event, Step
from decodelab.core.protocols import Draw, HiddenStates, LanguageModel, Question, Rounds
from decodelab.core.stage import Kind, Stage, StatelessProcessor
from decodelab.core.values import Candidate, Limits

LIMIT = 3


class Broken(Exception):
    """What is injected; no error of decodelab."""


@dataclass(eq=False)
class Wire:
    """Counts calls and raises at one of them."""

    at: int = 0
    error: type[BaseException] = Broken
    calls: int = 0
    tripped: bool = False

    def touch(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            self.tripped = True
            raise self.error("injected\nhere")


WIRE = Wire()
"""The one that the stages below touch; each test sets it."""


@dataclass(frozen=True)
class Wired(StatelessProcessor):
    """A processor with a state, of which every call touches the wire."""

    name: ClassVar[str] = "wired"
    source: ClassVar[str] = "this test"
    tokens_suffice: ClassVar[bool] = False

    def init(self, prompts: Sequence[tuple[int, ...]], vocab: Any, keys: Any) -> Any:
        WIRE.touch()
        return torch.zeros(len(prompts))

    def apply(self, logits: Tensor, state: Any) -> Tensor:
        WIRE.touch()
        return logits.clone()

    def update(self, state: Any, logits: Tensor, tokens: Tensor) -> Any:
        WIRE.touch()
        return state + 1


@dataclass(frozen=True)
class WiredSample(dl.Sample):
    """A search of which every call touches the wire."""

    name: ClassVar[str] = "wired_sample"

    def init(self, jobs: int, samples: Tensor) -> Any:
        WIRE.touch()
        return super().init(jobs, samples)

    def step(self, logits: Tensor, state: Any, rows: Any) -> Any:
        WIRE.touch()
        return super().step(logits, state, rows)

    def finished(self, state: Any, job: int) -> Any:
        WIRE.touch()
        return super().finished(state, job)


@dataclass(frozen=True)
class WiredExact(dl.Exact):
    """A tree search of which every call touches the wire."""

    name: ClassVar[str] = "wired_exact"

    def init(self, max_new_tokens: int) -> Any:
        WIRE.touch()
        return super().init(max_new_tokens)

    def grow(self, logits: Tensor, state: Any, tree: Any) -> Any:
        WIRE.touch()
        return super().grow(logits, state, tree)

    def finished(self, state: Any) -> Any:
        WIRE.touch()
        return super().finished(state)


@dataclass(frozen=True)
class TokenByToken(Stage):
    """A search over texts: two samples, each drawn a token at a time; it may touch the wire after each round."""

    wired: bool = False

    n: ClassVar[int] = 2
    peak_rows: ClassVar[int] = 2
    name: ClassVar[str] = "token_by_token"
    kind: ClassVar[Kind] = "search"
    source: ClassVar[str] = "this test"
    searches_in_rounds: ClassVar[bool] = True

    def rounds(self, question: Question, limits: Limits) -> Rounds:
        going: dict[int, Candidate | None] = {0: None, 1: None}
        done: list[tuple[Candidate, float]] = []
        while going:
            drawn = yield [Draw(1, i, after, most=1) for i, after in going.items()]
            if self.wired:
                WIRE.touch()
            pairs = [(i, one) for i, (one,) in zip(going, drawn, strict=True)]
            done += [(one.candidate, 0.0) for _, one in pairs if one.finished]
            going = {i: one.candidate for i, one in pairs if not one.finished}
        return done


@dataclass(frozen=True)
class WiredChoice(dl.BestOf):
    """A selection that touches the wire."""

    name: ClassVar[str] = "wired_choice"

    def rank(self, candidates: Any, question: Any) -> Any:
        WIRE.touch()
        return super().rank(candidates, question)


@dataclass(frozen=True)
class WiredStop(Stage):
    """A stop of which every call touches the wire; it ends no text."""

    name: ClassVar[str] = "wired_stop"
    kind: ClassVar[Kind] = "stop"
    source: ClassVar[str] = "this test"
    ended: ClassVar[bool] = False
    kept: ClassVar[None] = None
    held: ClassVar[None] = None

    def begin(self) -> Any:
        WIRE.touch()
        return self

    def read(self, token: int, text: str) -> Any:
        WIRE.touch()
        return self


def wired_score(prompt: str, texts: Sequence[str]) -> list[float]:
    WIRE.touch()
    return [0.0 for _ in texts]


def wired_reader(text: str) -> str:
    WIRE.touch()
    return text


@pytest.fixture
def wire() -> Iterator[Wire]:
    """The wire, cut again after the test."""
    WIRE.__init__()
    yield WIRE
    WIRE.__init__()


@dataclass(eq=False)
class Fragile:
    """A model whose passes, and the operations of its caches, touch a wire of its own."""

    model: LanguageModel
    wire: Wire = field(default_factory=Wire)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def prefill(self, prompts: Any) -> Any:
        self.wire.touch()
        logits, cache = self.model.prefill(prompts)
        return logits, FragileCache(cache, self.wire)

    def decode(self, cache: Any, tokens: Tensor) -> Any:
        self.wire.touch()
        logits, cache = self.model.decode(cache.cache, tokens)
        return logits, FragileCache(cache, self.wire)


class FragileHidden(Fragile):
    """One that shows hidden states too."""

    def prefill_with_hidden_states(self, prompts: Any, layers: Any) -> Any:
        self.wire.touch()
        logits, hidden, cache = self.model.prefill_with_hidden_states(prompts, layers)  # pyright: ignore
        return logits, hidden, FragileCache(cache, self.wire)

    def decode_with_hidden_states(self, cache: Any, tokens: Tensor, layers: Any) -> Any:
        self.wire.touch()
        logits, hidden, cache = self.model.decode_with_hidden_states(cache.cache, tokens, layers)  # pyright: ignore
        return logits, hidden, FragileCache(cache, self.wire)

    def early_exit_logits(self, hidden: Tensor) -> Tensor:
        raise NotImplementedError


class FragileCache:
    """A cache that touches the wire of its model."""

    def __init__(self, cache: Any, wire: Wire) -> None:
        self.cache, self.wire = cache, wire

    @property
    def lengths(self) -> Any:
        return self.cache.lengths

    @property
    def nbytes(self) -> int:
        return self.cache.nbytes

    def select(self, rows: Tensor) -> "FragileCache":
        self.wire.touch()
        return FragileCache(self.cache.select(rows), self.wire)

    def fork(self, rows: Tensor) -> "FragileCache":
        self.wire.touch()
        return FragileCache(self.cache.fork(rows), self.wire)

    def rewind(self, lengths: Any) -> "FragileCache":
        self.wire.touch()
        return FragileCache(self.cache.rewind(lengths), self.wire)

    def join(self, other: Any) -> "FragileCache":
        self.wire.touch()
        return FragileCache(self.cache.join(other.cache), self.wire)


TABLE = dl.TableModel(
    ["a", "b", "c"],
    {
        ...: {"a": 0.4, "b": 0.3, "c": 0.2, "</s>": 0.1},
        "a": {"b": 0.6, "c": 0.4},
        "b": {"a": 0.35, "b": 0.35, "c": 0.3},
    },
    bos="<s>",
    name="a table",
)

GUARDED: dict[str, list[Any]] = {
    "sampling": ["temperature=0.9 | sample(n=2)", "greedy", "beam(width=2)", "smc(particles=2, scorer=logprob)"],
    "speculative": ["greedy | speculative(draft=ngram)", "temperature=0.8 | sample(n=2) | speculative(draft=ngram)"],
    "tree": ["exact(budget=6)", "mcts(simulations=2)"],
    "windows": ["sample(n=5) | until(answer=text, window=2) | vote(answer=text)", "sample(n=2)"],
    "rounds": [[TokenByToken()], "dvts(trees=2, expand=2, scorer=logprob)"],
}
"""Strategies of the jobs beside those that are broken, by runner."""
RUNNERS = ("sampling", "speculative", "tree")
"""Those that are beside every broken job: samples in windows and rounds are of the first."""

BROKEN: dict[str, Callable[[], list[Any]]] = {
    "processor": lambda: [[Wired(), dl.Sample(2)], [Wired(), dl.Beam(2)]],
    "search": lambda: [[dl.TopK(3), WiredSample(2)]],
    "stop": lambda: [[WiredStop(), dl.Greedy()]],
    "selection": lambda: [[dl.Sample(2), WiredChoice()]],
    "scorer": lambda: [[dl.ValueBeam(2, wired_score)], [dl.MCTS(2, scorer=wired_score)]],
    "speculative": lambda: [
        [Wired(), dl.Greedy(), dl.Speculative("ngram")],
        [Wired(), dl.Sample(2), dl.Speculative(TABLE)],
    ],
    "tree": lambda: [[Wired(), WiredExact(budget=6)]],
    "rounds": lambda: [[Wired(), TokenByToken(wired=True)], [WiredStop(), dl.Rebase(2, wired_score)]],
    "windows": lambda: [[Wired(), dl.Sample(3), dl.Until(answer=wired_reader, window=2), WiredChoice()]],
}
"""Strategies that touch the wire."""

Outcomes = dict[int, Any]


def outcomes(engine: dl.Engine) -> Outcomes:
    """What comes out, by number: candidates or errors; a job that comes out twice fails the test."""
    found: Outcomes = {}
    for done in engine.run():
        assert done.index not in found
        found[done.index] = done.error if isinstance(done, dl.Failed) else done.candidates
    return found


def submit(engine: dl.Engine, strategies: Sequence[Any]) -> None:
    for i, strategy in enumerate(strategies):
        engine.submit(["a", "b", "a b", "c"][i % 4], dl.Strategy.of(strategy), max_new_tokens=LIMIT, seed=i)


def undisturbed(model: Any, strategies: Sequence[Any], **options: Any) -> Outcomes:
    engine = dl.Engine(model, **options)
    submit(engine, strategies)
    return outcomes(engine)


@pytest.mark.parametrize("stage", BROKEN)
def test_a_stage_that_raises_at_any_of_its_calls_fails_its_own_jobs_and_no_others(wire, stage):
    good = [strategy for runner, some in GUARDED.items() if runner in (stage, *RUNNERS) for strategy in some]
    for bad in BROKEN[stage]():
        strategies = [*good[:3], bad, *good[3:], bad]
        wire.__init__()
        alone = undisturbed(TABLE, strategies)
        calls = wire.calls
        assert calls
        for at in range(1, calls + 1):
            wire.__init__(at)
            engine = dl.Engine(TABLE)
            submit(engine, strategies)
            found = outcomes(engine)
            assert wire.tripped
            failed = {i: error for i, error in found.items() if isinstance(error, Exception)}
            assert failed.keys() <= {3, len(strategies) - 1}
            assert failed
            for error in failed.values():
                assert isinstance(error, dl.DecodelabError)
                assert "\n" not in str(error)
                assert isinstance(error.__cause__, Broken)
            assert {i: c for i, c in found.items() if i not in failed} == {
                i: c for i, c in alone.items() if i not in failed
            }
            assert not engine.busy


def test_the_error_names_the_stage_and_what_it_raised(wire):
    wire.__init__(2)
    with pytest.raises(StageFailed, match=r"^wired raised Broken: injected here; mend that stage, or leave it out$"):
        dl.generate(TABLE, "a", [Wired(), "sample"], max_new_tokens=2)


@pytest.mark.parametrize("at", [1, 2, 4])
def test_an_error_of_a_stop_names_it_and_not_the_search(wire, at):
    wire.__init__(at)
    with pytest.raises(StageFailed, match=r"^wired_stop raised Broken: injected here"):
        dl.generate(TABLE, "a", [WiredStop(), "beam(width=2)"], max_new_tokens=3)


HIDDEN = ["contrastive_search(k=2)", "contrastive_search(k=3, alpha=0.4)"]


@pytest.fixture(scope="module")
def pocket() -> LanguageModel:
    return dl.load("pocket-nano")


@pytest.mark.parametrize("runner", [*GUARDED, "draft", "hidden states"])
def test_a_model_that_raises_at_any_call_fails_the_jobs_of_that_pass_and_no_others(pocket, runner):
    model, kind = (pocket, FragileHidden) if runner == "hidden states" else (TABLE, Fragile)

    def strategies_for(fragile: Any) -> list[Any]:
        if runner == "draft":
            draft = dl.Speculative(fragile)
            return [[dl.Greedy(), draft], [dl.Sample(2), draft], [dl.Temperature(2.0), dl.Sample(2), draft]]
        strategies = HIDDEN if runner == "hidden states" else GUARDED[runner]
        return [*strategies, *strategies[:1]]

    fragile = kind(model)
    alone = undisturbed(fragile, strategies_for(fragile), max_rows=4)
    calls = fragile.wire.calls
    assert calls > 3
    for at in range(1, calls + 1):
        fragile = kind(model, Wire(at))
        strategies = strategies_for(fragile)
        engine = dl.Engine(fragile, max_rows=4)  # pyright: ignore[reportArgumentType]
        submit(engine, strategies)
        found = outcomes(engine)
        assert fragile.wire.tripped
        assert found.keys() == alone.keys()
        failed = {i: error for i, error in found.items() if isinstance(error, Exception)}
        assert failed
        for error in failed.values():
            assert isinstance(error, ForwardFailed | ScorerFailed)  # the scorer asks the model too
            assert isinstance(error.__cause__, Broken)
        for i in found.keys() - failed.keys():
            assert found[i] == alone[i]
        # It goes on as if nothing had been.
        submit(engine, strategies)
        again = outcomes(engine)
        assert [again[i + len(strategies)] for i in alone] == [alone[i] for i in alone]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("runner", [*GUARDED, "hidden states"])
def test_after_an_exception_that_is_no_error_nothing_is_done_twice_and_nothing_loops(pocket, runner, error):
    model, kind = (pocket, FragileHidden) if runner == "hidden states" else (TABLE, Fragile)
    strategies = HIDDEN if runner == "hidden states" else [*GUARDED[runner], *GUARDED[runner][:1]]
    fragile = kind(model)
    alone = undisturbed(fragile, strategies, max_rows=4)
    for at in range(1, fragile.wire.calls + 1):
        fragile = kind(model, Wire(at, error))
        engine = dl.Engine(fragile, max_rows=4)  # pyright: ignore[reportArgumentType]
        submit(engine, strategies)
        found: list[Any] = []
        with pytest.raises(error):
            found.extend(engine.run())
        if error is not KeyboardInterrupt:
            for use in (lambda: submit(engine, strategies), lambda: list(engine.run()), lambda: list(engine.step())):  # noqa: B023
                with pytest.raises(
                    EngineStopped, match=f"^{error.__name__} stopped this engine in the middle of a step"
                ):
                    use()
            found.extend(engine.interrupted())
        assert not engine.busy
        assert engine.rows == 0
        assert len({g.index for g in found}) == len(found)
        for g in found:
            assert isinstance(g, dl.Generation)
            if all(c.finish_reason != "interrupted" for c in g.candidates):
                assert g.candidates == alone[g.index]
        submit(engine, strategies)
        again = outcomes(engine)
        assert [again[i + len(strategies)] for i in alone] == [alone[i] for i in alone]


def test_what_an_observer_raises_reaches_the_caller_and_stops_the_engine():
    def broken(event: Event) -> None:
        if isinstance(event, Step) and int(event.positions[0]) == 1:
            raise Broken("mine")

    for strategies in GUARDED.values():
        engine = dl.Engine(TABLE, observers=[broken])
        submit(engine, strategies)
        with pytest.raises(Broken, match="mine"):
            list(engine.run())
        with pytest.raises(EngineStopped, match="Broken stopped this engine"):
            list(engine.run())


@pytest.mark.parametrize("runner", GUARDED)
def test_a_run_may_be_left_at_any_outcome_and_goes_on_there(runner):
    strategies = 3 * GUARDED[runner]
    alone = undisturbed(TABLE, strategies)
    engine = dl.Engine(TABLE)
    submit(engine, strategies)
    found: Outcomes = {}
    while engine.busy:
        for done in engine.run():
            assert isinstance(done, dl.Generation)
            found[done.index] = done.candidates
            break
    assert found == alone


class Wide(Fragile):
    """A model whose logits are a token too wide, or too narrow."""

    by = 1

    def _wrong(self, logits: Tensor) -> Tensor:
        if self.by < 0:
            return logits[..., : self.by]
        return torch.cat([logits, logits[..., : self.by]], dim=-1)

    def prefill(self, prompts: Any) -> Any:
        logits, cache = self.model.prefill(prompts)
        return self._wrong(logits), cache

    def decode(self, cache: Any, tokens: Tensor) -> Any:
        logits, cache = self.model.decode(cache, tokens)
        return self._wrong(logits), cache


@pytest.mark.parametrize("by", [1, -1])
@pytest.mark.parametrize("strategy", [strategy for some in GUARDED.values() for strategy in some])
def test_logits_of_a_wrong_width_are_refused(strategy, by):
    model = Wide(TABLE)
    model.by = by
    with pytest.raises(
        MalformedLogits, match=rf"a table returned logits of shape .*{5 + by}.* where . rows of 5 tokens"
    ):
        dl.generate(model, "a", strategy, max_new_tokens=2)  # pyright: ignore[reportArgumentType]
    with pytest.raises(MalformedLogits, match="a table returned logits of shape"):
        dl.score(model, "a", " b")  # pyright: ignore[reportArgumentType]


def test_a_draft_of_a_wrong_width_and_hidden_states_too(pocket):
    with pytest.raises(MalformedLogits, match="a table returned logits of shape"):
        dl.generate(TABLE, "a", [dl.Greedy(), dl.Speculative(Wide(TABLE))], max_new_tokens=3)  # pyright: ignore

    class WideHidden(FragileHidden):
        def prefill_with_hidden_states(self, prompts: Any, layers: Any) -> Any:
            logits, hidden, cache = self.model.prefill_with_hidden_states(prompts, layers)  # pyright: ignore
            return torch.cat([logits, logits[:, :1]], dim=1), hidden, cache

    assert isinstance(WideHidden(pocket), HiddenStates)
    with pytest.raises(MalformedLogits, match="pocket-nano returned logits of shape"):
        dl.generate(WideHidden(pocket), "a", "contrastive_search", max_new_tokens=2)  # pyright: ignore


def test_a_model_that_cannot_say_what_memory_it_takes_is_named_when_a_job_is_submitted():
    class Probed(Fragile):
        def cache_bytes(self, prompt: int, rows: int, new: int) -> int:
            raise RuntimeError("CUDA error: device-side assert")

    for strategy in ("greedy", "exact", "greedy | speculative(draft=ngram)"):
        engine = dl.Engine(Probed(TABLE))  # pyright: ignore[reportArgumentType]
        with pytest.raises(
            ForwardFailed, match=r"^a table: the forward pass failed: CUDA error: device-side assert"
        ) as caught:
            engine.submit("a", strategy)
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert not engine.busy
