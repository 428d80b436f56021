"""Declarations of a stage, so that other code need not guess from its class.

The engine, the cost prediction, sweeps and the command line use only these declarations. A third party's
stage that declares nothing is treated carefully: as one that draws random numbers, needs logits and shares no work.
`decodelab.testing` checks declarations against behaviour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from decodelab.core.protocols.models import LanguageModel
    from decodelab.core.protocols.scorers import AnyScorer

Need = Literal["hidden states", "logits", "text"]
"""What a stage needs from a back end: the hidden states of layers, next-token logits, or texts alone.

Texts alone is what any server of models gives: it draws at a temperature and with top-p itself, and what is chosen
among finished texts is chosen here.
"""

NEEDS: tuple[Need, ...] = ("hidden states", "logits", "text")
"""All needs, the greatest first."""

RunnerName = Literal["batched", "hidden_states", "tree", "speculative"]
"""How the forward passes of a job are made (`decodelab.engine.runners`)."""


class Capabilities:
    """The declarations of a stage, each with its careful default.

    Attributes:
        needs: what it needs from a back end.
        uses_randomness: whether what it gives may depend on the seed.
        keeps_argmax: of a processor: it never removes the most probable token or raises another above it.
        constrains: texts without a valid continuation are dropped, so fewer candidates than requested may be left.
        reads_raw_logits: of a processor: adding one number to all logits may change the distribution it gives.
        tokens_suffice: of a processor: its state follows from the tokens alone, whatever the logits were, so it can be
            computed after a known text without the model.
        runner: of a search or a driver: how its forward passes are made.
        takes_argmax: of a search: it takes the most probable token, so processors that keep the argmax have no effect.
        drops_dead_ends: of a search: it continues without rows that have no token left.
        if_empty: of a search that may end without a hypothesis: what to do about it.
        independent_rows: of a search: a row never forks, so rows may advance by different numbers of tokens.
        samples_by_index: of a search: its parameter n is a number of independent samples, and sample i is the same
            whatever n is.
        names_models: parameters that hold names of models, which are loaded when the stage runs.
        names_files: parameters whose text may be the path of a file, which is read when the stage is made.
        runs_programs: whether it runs programs that a model wrote.
        draws_in_windows: of a driver: it may end drawing before all n samples are drawn
            (`decodelab.core.protocols.DrawsInWindows`); otherwise a driver changes no text.
        searches_in_rounds: of a search: it is a function of texts (`decodelab.core.protocols.SearchesInRounds`) whose
            draws are made as `sample` makes them.
        weighs_draws: of a search over texts: it goes by their log-probabilities under the processed distribution, which
            must therefore follow from the text alone.
    """

    needs: ClassVar[Need] = "logits"
    uses_randomness: ClassVar[bool] = True
    keeps_argmax: ClassVar[bool] = False
    constrains: ClassVar[bool] = False
    reads_raw_logits: ClassVar[bool] = False
    tokens_suffice: ClassVar[bool] = False
    runner: ClassVar[RunnerName] = "batched"
    takes_argmax: ClassVar[bool] = False
    drops_dead_ends: ClassVar[bool] = False
    if_empty: ClassVar[str] = "ask for more hypotheses"
    independent_rows: ClassVar[bool] = False
    samples_by_index: ClassVar[bool] = False
    draws_in_windows: ClassVar[bool] = False
    searches_in_rounds: ClassVar[bool] = False
    names_models: ClassVar[tuple[str, ...]] = ()
    names_files: ClassVar[tuple[str, ...]] = ()
    runs_programs: ClassVar[bool] = False
    weighs_draws: ClassVar[bool] = False

    def deterministic(self) -> bool:
        """Whether these parameters give the same result under every seed."""
        return not self.uses_randomness

    def prefix_budget(self, max_new_tokens: int) -> int | None:
        """Of a tree search: how many prefixes it evaluates at most besides the prompt; None where nothing bounds it."""
        return None

    def reads_confidences(self) -> bool:
        """Of a selection: whether it reads the confidences of candidates, which are recorded only for those who do."""
        return False

    def reads_logprobs(self) -> bool:
        """Of a selection, or a driver that draws in windows: whether what it gives depends on log-probabilities."""
        return True

    def asks_model(self) -> bool:
        """Of a selection, or a driver that draws in windows: whether it may ask the model, not only candidates."""
        return True

    def counts(self) -> object | None:
        """Of a selection, or a driver that draws in windows: what it counts as an answer; None if it counts none."""
        return None

    def judge_model(self) -> str | LanguageModel | None:
        """Of a selection: the model that it asks instead of the one decoded, or its name; None for no other."""
        return None

    def asks_scorer(self) -> AnyScorer | None:
        """Of a search or a selection: the scorer that it asks about texts, if any."""
        return None
