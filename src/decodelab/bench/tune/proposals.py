"""What is tried next: the candidates of a list, or what the tree-structured Parzen estimator of optuna proposes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar

from decodelab.bench.tune.space import ALTERNATIVE, Chooser
from decodelab.core.errors import RequestError, StrategyError
from decodelab.pocket.item import digest

Candidate = TypeVar("Candidate", bound=Hashable)
REPEATS = 60
"""After this many proposals in a row that were tried already, the space counts as exhausted."""

ENOUGH = 10
"""This many complete trials are needed before importances are computed."""


@dataclass(frozen=True)
class Raced(Generic[Candidate]):
    """How a candidate did.

    Attributes:
        candidate: which.
        values: of the items it has answered, in their order.
        stopped: whether it was stopped before the last item, as worse than what there was.
        refused: why it could not be tried; None if it could.
    """

    candidate: Candidate
    values: tuple[float, ...]
    stopped: bool = False
    refused: str | None = None

    @property
    def mean(self) -> float:
        """Over the items it has answered."""
        return sum(self.values) / len(self.values)


class Proposals(Protocol[Candidate]):
    """Proposes what to try, and learns how it did."""

    def propose(self) -> Candidate | None:
        """Something that was not tried yet; None if there is nothing left."""
        ...

    def tell(self, raced: Raced[Candidate]) -> None:
        """Learn from what was tried."""
        ...


class Listed(Generic[Candidate]):
    """One after the other of a list.

    >>> few = Listed(["greedy", "top_p=0.5"])
    >>> few.propose(), few.propose(), few.propose()
    ('greedy', 'top_p=0.5', None)
    """

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._left = list(candidates)
        self._tried: set[Candidate] = set()

    def propose(self) -> Candidate | None:
        """The next one."""
        while self._left:
            candidate = self._left.pop(0)
            if candidate not in self._tried:
                return candidate
        return None

    def tell(self, raced: Raced[Candidate]) -> None:
        """It is not proposed any more."""
        self._tried.add(raced.candidate)


class ParzenProposals(Generic[Candidate]):
    """Candidates that optuna proposes, each once.

    The study is kept in memory only: with the same seed and the same results it makes the same proposals. A candidate
    that was stopped counts with the mean it had then.

    Args:
        choose: makes a candidate of what optuna's trials suggest.
        seed: of its draws.

    Raises:
        RequestError: if optuna is not installed.

    Source: Bergstra et al. 2011, "Algorithms for hyper-parameter optimization"; by optuna.
    """

    def __init__(self, choose: Callable[[Chooser], Candidate], seed: int) -> None:
        self._choose = choose
        self._optuna = _optuna()
        self.refused: dict[str, int] = {}
        self._open: dict[Candidate, Any] = {}
        self._parameters: dict[Candidate, list[str]] = {}
        self._known: dict[Candidate, Raced[Candidate]] = {}
        with _quiet(self._optuna) as optuna:
            sampler = optuna.samplers.TPESampler(seed=digest("tune", seed) % 2**32)
            self._study = optuna.create_study(direction="maximize", sampler=sampler, pruner=optuna.pruners.NopPruner())

    def propose(self) -> Candidate | None:
        """Something that was not tried yet; None if only what was comes again and again."""
        with _quiet(self._optuna) as optuna:
            for _ in range(REPEATS):
                trial = self._study.ask()
                try:
                    candidate = self._choose(trial)
                except StrategyError as error:
                    # Stages took each of these values, but not together.
                    self.refused[str(error)] = self.refused.get(str(error), 0) + 1
                    self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
                    continue
                if candidate in self._known:
                    self._report(trial, self._known[candidate])
                elif candidate in self._open:
                    self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
                else:
                    self._open[candidate] = trial
                    self._parameters[candidate] = [name for name in trial.params if name != ALTERNATIVE]
                    return candidate
        return None

    def tell(self, raced: Raced[Candidate]) -> None:
        """Learn from what was tried, proposed or not."""
        self._known[raced.candidate] = raced
        trial = self._open.pop(raced.candidate, None)
        if trial is not None:
            with _quiet(self._optuna):
                self._report(trial, raced)

    def importances(self, candidate: Candidate, seed: int) -> dict[str, float]:
        """Which share of the variance of the results each parameter of a candidate accounts for.

        Complete trials with the same parameters count; without enough of them, of a single parameter, or where all came
        to the same, nothing can be said.

        Source: Hutter et al. 2014, functional ANOVA; by optuna.
        """
        parameters = self._parameters.get(candidate, [])
        alike = [raced for name, raced in self._known.items() if self._parameters.get(name) == parameters]
        values = [raced.mean for raced in alike if raced.refused is None and not raced.stopped]
        if len(parameters) < 2 or len(values) < ENOUGH or max(values) - min(values) < 1e-9:
            return {}
        with _quiet(self._optuna) as optuna:
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=digest("importance", seed) % 2**32)
            return dict(optuna.importance.get_param_importances(self._study, evaluator=evaluator, params=parameters))

    def _report(self, trial: Any, raced: Raced[Candidate]) -> None:
        states = self._optuna.trial.TrialState
        if raced.refused is not None:
            self._study.tell(trial, state=states.FAIL)
        elif raced.stopped:
            trial.report(raced.mean, step=len(raced.values))
            self._study.tell(trial, state=states.PRUNED)
        else:
            self._study.tell(trial, raced.mean)


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError:
        raise RequestError("tuning needs optuna, which is not installed; pip install 'decodelab[tune]'") from None
    return optuna


@contextmanager
def _quiet(optuna: Any) -> Iterator[Any]:
    """Keep optuna from writing to stderr, where the progress bar is."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        yield optuna
    finally:
        optuna.logging.set_verbosity(before)
