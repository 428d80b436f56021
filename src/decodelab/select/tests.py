"""Selection by tests: programs that do what the examples say, and that most others agree with."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from decodelab.core.capabilities import Need
from decodelab.core.errors import InvalidParameter
from decodelab.core.notices import NoTests
from decodelab.core.protocols import Question, Ranker
from decodelab.core.stage import brief, check_choice, check_number
from decodelab.core.values import Candidate
from decodelab.programs.completion import program
from decodelab.programs.examples import MOST, Asked, Case, asked_function, shown_examples, written_case
from decodelab.programs.sandbox import Bounds
from decodelab.programs.trials import Trial, tried
from decodelab.select._prepared import PreparedSelection
from decodelab.select.ratings import mean_logprob


@dataclass(frozen=True)
class Tests(PreparedSelection):
    """Rank the candidates by how many tests their programs pass, and then by how many others have the same outputs.

    The prompt must begin a Python function, in a block of code or as it is; a candidate's program is found in its text
    as the task `code` finds it, and runs in the same sandbox. The tests are the examples that the prompt shows
    (doctests, `f(1) == 2`, `f(1) => 2`, `f(1) returns 2`), or `cases`: `f(1) == 2` or another comparison is a test; any
    other expression, such as `f(3)`, is only run to compare outputs.

    Programs whose outputs are equal in all cases are a consensus set. `by=passed` ranks by tests passed, then by the
    size of the set; the score is the number passed. `by=codet` ranks by the product of both, which is the score: for
    tests that may be wrong, as those that a model has written. Ties go to the higher mean log-probability. A program
    that does not get through all cases within `seconds` and `memory_mb` has passed none and agrees with nobody. Where
    there are no tests at all, that is said and the mean log-probability decides.

    Raises:
        InvalidParameter: if a case is no expression, or a parameter out of range.
        SandboxMissing: while ranking, if there is no sandbox: nothing is ever run without one.

    >>> str(Tests(cases=["f(1) == 2"]))
    'tests(cases=["f(1) == 2"])'
    """

    cases: Annotated[Sequence[str] | None, "expressions such as f(1) == 2; none: the examples in the prompt"] = None
    by: Annotated[Literal["passed", "codet"], "passed (then agreement) or codet (the product of both)"] = "passed"
    seconds: Annotated[float, "wall-clock time of all cases of a program together"] = 5.0
    memory_mb: Annotated[int, "megabytes of memory that a program has"] = 512

    name: ClassVar[str] = "tests"
    runs_programs: ClassVar[bool] = True
    needs: ClassVar[Need] = "text"
    uses_randomness: ClassVar[bool] = False
    source: ClassVar[str] = "Chen et al. 2022, CodeT, section 2.2; Li et al. 2022 (AlphaCode), section 4.5 (by outputs)"

    def __post_init__(self) -> None:
        """Check the parameters."""
        if self.cases is not None:
            cases = (self.cases,) if isinstance(self.cases, str) else tuple(self.cases)
            object.__setattr__(self, "cases", cases)
            wrong = next((c for c in cases if not isinstance(c, str) or not c.strip()), None)
            if wrong is not None or not 0 < len(cases) <= MOST:
                got = brief(wrong) if wrong is not None else f"{len(cases)} of them"
                raise InvalidParameter(f'tests: cases must be 1 to {MOST} texts, got {got}; write cases=["f(1) == 2"]')
        check_choice(self, "by", ("passed", "codet"), fix="codet is for tests that may be wrong")
        check_number(self, "seconds", low=0.1, high=3600, fix="3 to 10 are usual")
        check_number(self, "memory_mb", low=64, high=1_000_000, integer=True, fix="512 is usual")

    def reads_logprobs(self) -> bool:
        """Only to break ties, where they are known."""
        return False

    def asks_model(self) -> bool:
        """It runs programs."""
        return False

    def prepare(self, candidates: Sequence[Candidate], question: Question) -> Ranker:
        """Ranks by what programs did; each different program is run once."""
        asked = asked_function(question.prompt)
        cases = self._cases(asked)
        trials = self._trials(candidates, asked, cases) if asked is not None and cases else []
        if not trials or not any(case.expected is not None for case in cases):
            why = "the prompt begins no function" if asked is None else "there is nothing that says what it should give"
            decides = "agreement and mean log-probability decide" if trials else "the mean log-probability decides"
            warnings.warn(NoTests(f"{self}: no tests, as {why}; {decides}", f"{self} {why}"), stacklevel=2)
        none = Trial((), "")

        def ranker(places: Sequence[int]) -> list[tuple[int, float]]:
            of = {i: trials[i] if trials else none for i in places}
            agreeing = Counter(of[i].outputs for i in places if of[i].outputs)
            ranks = {i: self._rank(of[i], agreeing[of[i].outputs]) for i in places}
            order = sorted(places, key=lambda i: (*(-r for r in ranks[i]), -mean_logprob(candidates[i])))
            return [(i, ranks[i][0]) for i in order]

        return ranker

    def _rank(self, trial: Trial, agreeing: int) -> tuple[float, ...]:
        """What a trial is ranked by, given how many have its outputs."""
        passed = float(sum(trial.passed))
        # Without tests the product is 0 for all, and agreement decides.
        return (passed * agreeing, agreeing) if self.by == "codet" else (passed, agreeing)

    def _cases(self, asked: Asked | None) -> list[Case]:
        if asked is None or self.cases is None:
            return [] if asked is None else shown_examples(asked)
        written = [(text, written_case(text, asked.name)) for text in self.cases]
        wrong = next((text for text, case in written if case is None), None)
        if wrong is not None:
            raise InvalidParameter(
                f"tests: a case must be an expression that calls {asked.name}, the function of the prompt, got "
                f"{brief(wrong)}; write {asked.name}(1) == 2"
            )
        return [case for _, case in written if case is not None]

    def _trials(self, candidates: Sequence[Candidate], asked: Asked, cases: Sequence[Case]) -> list[Trial]:
        programs = [program(asked.code, asked.name, c.text) for c in candidates]
        different = list(dict.fromkeys(programs))
        bounds = Bounds(self.seconds, self.memory_mb * 2**20)
        found = dict(zip(different, tried(different, asked, cases, bounds), strict=True))
        return [found[written] for written in programs]
