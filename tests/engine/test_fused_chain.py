"""Generation over a large vocabulary: fused chains give what the stages give one by one, whoever looks on."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

import decodelab as dl
from decodelab.core.errors import EmptySupport
from decodelab.core.events import Step
from decodelab.core.key import Keys
from decodelab.core.protocols import Processor
from decodelab.core.stage import StatelessProcessor
from decodelab.engine.processing import process

VOCAB = dl.TableModel([f"w{i}" for i in range(5000)], {}, eos=None).vocab
PROMPTS = [(1, 2), (3,), (1, 2)]
KEYS = Keys.join([Keys.of(0, prompt, [i]) for i, prompt in enumerate(PROMPTS)])


@dataclass(frozen=True)
class NoPrimes(StatelessProcessor):
    """A stage that cannot be fused: it removes the ids 2, 3 and 5."""

    name: ClassVar[str] = "no_primes"
    source: ClassVar[str] = "this test"
    keeps_argmax: ClassVar[bool] = False

    def apply(self, logits: Tensor, state: None) -> Tensor:
        return logits.index_fill(-1, torch.tensor([2, 3, 5]), -torch.inf)


def one_by_one(processors: list[Processor], states: list[object], logits: Tensor) -> list[Tensor]:
    given = [logits]
    for processor, state in zip(processors, states, strict=True):
        given.append(processor.apply(given[-1], state))
    return given


CHAINS = [
    "temperature=0.8 | top_p=0.9",
    "top_k=50 | typical_p=0.9 | top_p=0.95 | min_p=0.05 | temperature=0.8",
    "temperature=1.3 | mirostat(tau=3.0) | top_k=100",
    "mirostat(tau=3.0, version=1) | temperature=0.5",
    "top_n_sigma=1.5 | xtc(probability=0.5, threshold=0.01) | dynamic_temperature=0.5",
    "repetition_penalty=1.3 | temperature=0.7 | top_p=0.8",
    "top_p=1.0 | temperature=1.0",
    "rank_parity=odd | top_p=0.9",
]


@pytest.mark.parametrize("custom", [False, True])
@pytest.mark.parametrize("chain", CHAINS)
def test_steps_of_a_chain_are_those_of_its_stages_one_by_one(chain, custom):
    processors: list[Processor] = list(dl.Strategy.of(chain).processors)
    if custom:
        processors.insert(1, NoPrimes())
    states = [p.init(PROMPTS, VOCAB, KEYS) for p in processors]
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        logits = 3 * torch.randn(3, 5000, generator=generator)
        work, given = process(processors, states, logits), one_by_one(processors, states, logits)
        assert torch.equal(work.logits.isfinite(), given[-1].isfinite())
        assert torch.allclose(work.logits, given[-1], rtol=1e-6, atol=1e-6)
        for view, before, after in zip(work.views, given[:-1], given[1:], strict=True):
            assert torch.equal(view.before, before)
            assert torch.equal(view.after, after)
        tokens = given[-1].softmax(-1).multinomial(1, generator=generator)[:, 0]
        pairs = [
            (p.update(s, a, tokens), p.update(s, b, tokens))
            for p, s, a, b in zip(processors, states, work.given, given, strict=False)
        ]
        for ours, theirs in pairs:
            if hasattr(ours, "mu"):
                assert torch.allclose(ours.mu, theirs.mu, rtol=1e-9)
        states = [theirs for _, theirs in pairs]


@pytest.fixture(scope="module")
def large_table() -> dl.TableModel:
    """One distribution over 5,000 tokens, and EOS."""
    weights = torch.randn(5000, generator=torch.Generator().manual_seed(1)).mul(2).exp()
    distribution = dict(zip([f"w{i}" for i in range(5000)], (0.99 * weights / weights.sum()).tolist(), strict=True))
    return dl.TableModel(list(distribution), {...: {**distribution, "</s>": 1 - sum(distribution.values())}})


def test_who_looks_on_sees_the_stages_and_changes_nothing(large_table):
    strategy = "temperature=0.8 | top_p=0.9 | sample(n=3)"
    seen: list[Step] = []
    watched = dl.generate(
        large_table,
        [(1,)],
        strategy,
        max_new_tokens=5,
        observers=[lambda e: seen.append(e) if isinstance(e, Step) else None],
    )
    alone = dl.generate(large_table, [(1,)], strategy, max_new_tokens=5)
    assert [c.tokens for c in watched[0].candidates] == [c.tokens for c in alone[0].candidates]
    warm, cut = seen[0].stages
    assert (warm.name, cut.name) == ("temperature=0.8", "top_p=0.9")
    assert torch.equal(cut.after, seen[0].processed)
    assert seen[0].stages is seen[0].stages


@dataclass(frozen=True)
class RemovesEverything(StatelessProcessor):
    """A stage that leaves no token."""

    name: ClassVar[str] = "removes_everything"
    source: ClassVar[str] = "this test"

    def apply(self, logits: Tensor, state: None) -> Tensor:
        return torch.full_like(logits, -torch.inf)


def test_the_stage_that_removed_the_last_token_is_named_between_fused_ones(large_table):
    chain = dl.Temperature(0.8) | RemovesEverything() | dl.TopP(0.9)
    with pytest.raises(EmptySupport, match="removes_everything left no token to choose from"):
        dl.generate(large_table, [(1,)], chain, max_new_tokens=2)
