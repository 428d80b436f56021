"""Numbers that are no distribution: named errors, never a silent token 0."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import decodelab as dl
from decodelab.core.errors import EmptySupport, NonFiniteLogits
from decodelab.core.protocols import LanguageModel
from decodelab.core.stage import StatelessProcessor

STRATEGIES = ["greedy", "temperature=0.8 | top_p=0.9 | sample(n=2)", "beam(width=2)"]


class Poisoned:
    """A model whose logits are spoiled at one row and step: the whole row, or one token of it."""

    def __init__(self, model: LanguageModel, value: float, *, row: int, step: int, whole: bool) -> None:
        self.model, self.value, self.row, self.step, self.whole = model, value, row, step, whole
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def _spoil(self, logits: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.step:
            logits[self.row, ..., slice(None) if self.whole else 3] = self.value
        return logits

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> tuple[Tensor, Any]:
        logits, cache = self.model.prefill(prompts)
        return self._spoil(logits), cache

    def decode(self, cache: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        logits, cache = self.model.decode(cache, tokens)
        return self._spoil(logits), cache


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize(
    ("value", "whole", "name"),
    [
        (float("nan"), False, "NaN"),
        (float("nan"), True, "NaN"),
        (float("inf"), False, r"\+inf"),
        (float("-inf"), True, "only -inf"),
    ],
)
def test_logits_that_are_no_distribution_raise_an_error_that_names_them(
    random_table, strategy, step, value, whole, name
):
    model = Poisoned(random_table(3, eos=0.0), value, row=0, step=step, whole=whole)
    place = rf"for prompt \d at new token {step}; "
    with pytest.raises(NonFiniteLogits, match=rf"^table-3 returned {name} as logits {place}") as error:
        dl.generate(model, [(6, 1), (6, 2)], strategy, max_new_tokens=5)  # pyright: ignore[reportArgumentType]
    assert "\n" not in str(error.value)


def test_the_error_names_the_prompt_by_its_place_in_the_request(random_table):
    # Rows are ordered by length: the first row of the batch is the second prompt.
    model = Poisoned(random_table(3, eos=0.0), float("nan"), row=0, step=2, whole=False)
    with pytest.raises(NonFiniteLogits, match="for prompt 1 at new token 2"):
        dl.generate(model, [(6, 1, 1), (6, 2)], "greedy")  # pyright: ignore[reportArgumentType]


def test_single_tokens_of_minus_infinity_are_impossible_tokens_not_errors(random_table):
    model = Poisoned(random_table(3, eos=0.0), float("-inf"), row=0, step=1, whole=False)
    found = dl.generate(model, "", "sample(n=50)", max_new_tokens=1)[0]  # pyright: ignore[reportArgumentType]
    assert 3 not in {c.tokens[0] for c in found.candidates[:1]}


def test_scoring_with_broken_logits_is_refused_too(random_table):
    for value, whole in ((float("nan"), False), (float("inf"), False), (float("-inf"), True)):
        for step in (1, 2):
            model = Poisoned(random_table(3), value, row=0, step=step, whole=whole)
            with pytest.raises(NonFiniteLogits, match="table-3"):
                dl.score(model, (6, 1), (0, 1, 2))  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class DropBelow(StatelessProcessor):
    """Remove every token below a logit: an absolute cut-off that may leave nothing."""

    logit: float = 0.0

    name: ClassVar[str] = "drop_below"
    source: ClassVar[str] = "this test"

    def apply(self, logits: Tensor, state: None) -> Tensor:
        return logits.masked_fill(logits < self.logit, -torch.inf)


@pytest.mark.parametrize("search", ["sample", "beam(width=2)"])
def test_a_stage_that_leaves_nothing_is_named(search, uniform):
    chain = [dl.Temperature(0.5), DropBelow(5.0), dl.TopP(0.9)]
    with pytest.raises(EmptySupport, match=r"^drop_below.* left no token to choose from for prompt 0 at new token 1"):
        dl.generate(uniform, "a", [*chain, search])


def test_the_step_at_which_nothing_is_left_is_named():
    model = dl.TableModel(["a", "b"], {(): {"a": 1.0}, "a": {"b": 1.0}, "b": {"a": 0.5, "b": 0.5}}, bos="<s>")
    with pytest.raises(EmptySupport, match="at new token 3"):
        dl.generate(model, "", [DropBelow(-0.5), "sample"])


def test_a_minimum_length_that_leaves_nothing_is_named_and_no_stage_is_blamed(says):
    for strategy in ("greedy", "temperature=0.5 | top_p=0.9 | sample", "top_k=2 | beam(width=2)"):
        with pytest.raises(EmptySupport, match=r"^min_new_tokens left no token to choose from .* at new token 2"):
            dl.generate(says("a"), "", strategy, min_new_tokens=5)
