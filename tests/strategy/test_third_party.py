"""Stages of other packages, announced by entry points in the group `decodelab.stages`."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType
from typing import Annotated, ClassVar

import pytest
import torch
from torch import Tensor

import decodelab as dl
from decodelab.core import registry
from decodelab.core.errors import StrategyError, UnknownParameter, UnknownStage
from decodelab.core.stage import StatelessProcessor, check_number
from decodelab.strategy.catalogue import stages
from decodelab.testing import check_processor


@dataclass(frozen=True)
class BanLow(StatelessProcessor):
    """Remove the first ids of the vocabulary."""

    count: Annotated[int, "how many ids to remove"] = 1

    name: ClassVar[str] = "ban_low"
    source: ClassVar[str] = "this test"
    keeps_argmax: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_number(self, "count", low=0, integer=True, fix="use 1")

    def apply(self, logits: Tensor, state: None) -> Tensor:
        return logits.index_fill(-1, torch.arange(min(self.count, logits.shape[-1])), -torch.inf)


Installs = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Installs:
    """Pretend that a package is installed that announces these stages, name to `module:Class`."""
    package = ModuleType("their_package")
    package.BanLow = BanLow  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "their_package", package)

    def announce(**announced: str) -> None:
        points = EntryPoints(EntryPoint(name, value, "decodelab.stages") for name, value in announced.items())
        monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))

    return announce


def test_a_stage_of_another_package_is_used_like_ours(install, uniform):
    install(ban_low="their_package:BanLow")
    strategy = dl.Strategy.of("ban_low=2 | top_k=3 | sample(n=5)")
    assert strategy.stages[0] == BanLow(2)
    assert dl.Strategy.of(str(strategy)) == dl.Strategy.of(strategy.to_json()) == strategy
    (g,) = dl.generate(uniform, "a", strategy, max_new_tokens=4)
    assert all(t >= 2 for c in g.candidates for t in c.tokens)
    assert BanLow in stages()
    check_processor(BanLow(0))


def test_its_name_is_suggested_and_its_parameters_checked(install):
    install(ban_low="their_package:BanLow")
    with pytest.raises(UnknownStage, match=r"unknown stage 'banlow'; did you mean 'ban_low'\?"):
        dl.Strategy.of("banlow=2")
    with pytest.raises(UnknownParameter, match="ban_low has no parameter 'cuont'; did you mean 'count'"):
        dl.Strategy.of("ban_low(cuont=2)")


def test_without_the_package_the_stage_is_unknown():
    with pytest.raises(UnknownStage):
        dl.Strategy.of("ban_low=2")


def test_nobody_can_replace_a_stage_of_ours(install):
    install(top_p="their_package:BanLow")
    assert dl.Strategy.of("top_p=0.9").stages[0] == dl.TopP(0.9)


@pytest.mark.parametrize("where", ["no_such_package:Stage", "their_package:NoSuchClass", "decodelab.no_such:X"])
def test_a_stage_that_cannot_be_imported_is_refused_in_one_line(install, where):
    install(broken=where)
    with pytest.raises(StrategyError, match=rf"^stage 'broken': cannot load {where} \(.*\); repair or remove its"):
        dl.Strategy.of("broken")
    assert dl.Strategy.of("top_p=0.9")


@pytest.fixture(scope="session")
def uniform() -> dl.TableModel:
    words = ["a", "b", "c", "d", "e"]
    return dl.TableModel(words, {...: dict.fromkeys(words, 0.2)}, bos="<s>")
