"""What every processor must do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from decodelab.core.key import Keys
from decodelab.core.protocols import Observable, ObservesChoice, Processor, Randomised, Vocab
from decodelab.core.stage import Stage, brief
from decodelab.core.states import can_join, join_states
from decodelab.models.table import TableModel
from decodelab.testing.stage import check_stage, require

_STEPS = 6
_CLOSE = 1e-5
"""Values may differ by this much with the shape of the batch; which tokens are removed may not."""


def check_processor(processor: Processor, *, vocab: Vocab | None = None, may_empty: bool = False) -> None:
    """Check that a processor keeps the promises of `decodelab.core.protocols.Processor`.

    Logits that are random, peaked, flat, tied, mostly removed and extreme are put through it, alone and in
    batches, and its state through six steps in which rows are forked, dropped and reordered. It must

    * give new float32 logits of the same shape, never NaN or +inf, and not change what it is given;
    * be pure: the same logits and state give the same result, at once or later;
    * treat each row as if it were alone;
    * never bring a removed token back, and leave at least one;
    * have a state whose `state[rows]` is all there is to a fork, and that goes on when no rows are left;
    * if the state can be joined, treat rows that have seen more and fewer tokens as if each were alone;
    * keep its word where it says `keeps_argmax`, that it uses no randomness, or that its parameters have no effect;
    * if it tells `outcomes`, apply one of them to each row; if it can be observed, change nothing by it;
    * be a proper stage (`check_stage`), if it is one.

    Args:
        processor: what to check; call this for several parameter values.
        vocab: the vocabulary to run it on, of at least four ids; twelve words when not given.
        may_empty: for constraints, which may rightly remove every token.

    Raises:
        AssertionError: naming the first promise that is broken.

    >>> from decodelab import TopP
    >>> check_processor(TopP(0.9))
    """
    if isinstance(processor, Stage):
        check_stage(processor)
    vocabs = [vocab] if vocab is not None else [_words(12), _words(1)]
    for words in vocabs:
        prompts = [tuple(t % words.size for t in p) for p in ((0,), (1, 2), (2, 2, 2), (3, 1, 0, 2), (0,))]
        for what, logits in _cases(len(prompts), words.size):
            _check_apply(processor, words, prompts, logits, what, may_empty)
        _check_state(processor, words, prompts)


def _words(size: int) -> Vocab:
    return TableModel([f"w{i}" for i in range(size)], {}, eos=None).vocab


def _cases(rows: int, size: int) -> Iterator[tuple[str, Tensor]]:
    """Logits worth trying, float32 [rows, size], each with a name; every row has a finite one."""
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(rows, size, generator=generator)
    yield "random logits", 3 * random
    yield "flat logits", torch.zeros(rows, size)
    yield "tied logits", random.round()
    yield "peaked logits", random.scatter(1, random.argmax(1, keepdim=True), 80.0)
    yield "shifted logits", random - 1000.0
    yield "extreme logits", random * 1e30
    yield "logits of tiny differences", random * 1e-30
    kept = random.argmax(1, keepdim=True)
    some = random.masked_fill(torch.rand(rows, size, generator=generator) < 0.6, -torch.inf)
    yield "logits with tokens removed", some.scatter(1, kept, random.gather(1, kept))
    yield "logits with one token left", torch.full_like(random, -torch.inf).scatter(1, kept, 0.5)


def _keys(prompts: Sequence[tuple[int, ...]]) -> Keys:
    return Keys.join([Keys.of(0, prompt, [sample]) for sample, prompt in enumerate(prompts)])


def _rows_of(state: Any, rows: Tensor) -> Any:
    return None if state is None else state[rows]


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether the same tokens are removed and the others agree up to rounding."""
    finite = a.isfinite()
    return torch.equal(finite, b.isfinite()) and torch.allclose(a[finite], b[finite], rtol=_CLOSE, atol=_CLOSE)


def _check_apply(
    processor: Processor, vocab: Vocab, prompts: Sequence[tuple[int, ...]], logits: Tensor, what: str, may_empty: bool
) -> None:
    def rule(condition: bool, text: str) -> None:
        require(condition, processor, f"{text} ({what}, {vocab.size} tokens)")

    keys = _keys(prompts)
    state = processor.init(prompts, vocab, keys)
    before = logits.clone()
    after = processor.apply(logits, state)
    rule(torch.equal(logits, before), "apply must not change its input")
    rule(isinstance(after, Tensor) and after.dtype == torch.float32, "apply must give float32")
    rule(after.shape == logits.shape, "apply must keep the shape [rows, vocab]")
    rule(not bool(after.isnan().any()), "apply must not give NaN")
    rule(not bool((after == torch.inf).any()), "apply must not give +inf")
    rule(bool((after[logits == -torch.inf] == -torch.inf).all()), "apply must not bring back a removed token")
    rule(may_empty or bool(after.isfinite().any(-1).all()), "apply must leave at least one token")
    rule(torch.equal(processor.apply(logits, state), after), "apply must give the same result twice")

    _check_offers(processor, logits, state, after)
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled = processor.apply(logits[order], _rows_of(state, order))
    rule(_same(shuffled, after[order]), "rows in another order must give the same rows in that order")
    for row in range(len(prompts)):
        alone = processor.apply(logits[row : row + 1], processor.init([prompts[row]], vocab, keys[torch.tensor([row])]))
        rule(_same(alone[0], after[row]), "a row must not depend on the rows beside it")

    if isinstance(processor, Stage) and processor.keeps_argmax:
        # Rounding may make close logits equal, so the lowest id among the largest is asked for only where they differ.
        largest = after.gather(1, logits.argmax(1, keepdim=True))
        rule(bool((largest >= after).all()), "says keeps_argmax, but the most probable token is removed or overtaken")
    if isinstance(processor, Stage) and processor.deterministic():
        others = Keys.join([Keys.of(1, prompt, [sample]) for sample, prompt in enumerate(prompts)])
        again = processor.apply(logits, processor.init(prompts, vocab, others))
        rule(torch.equal(again, after), "says it uses no randomness, but depends on the seed")
    if isinstance(processor, Stage) and processor.no_effect() is not None:
        rule(
            _same(after.log_softmax(-1), logits.log_softmax(-1)), "says it has no effect, but changes the distribution"
        )


def _check_offers(processor: Processor, logits: Tensor, state: Any, after: Tensor) -> None:
    """What a processor may offer besides, for a step in which it gave `after`."""

    def rule(condition: bool, text: str) -> None:
        require(condition, processor, text)

    before = logits.clone()
    if isinstance(processor, Randomised):
        outcomes = processor.outcomes(logits, state)
        rule(abs(sum(p for p, _ in outcomes) - 1) < 1e-9, "outcomes must have probabilities that sum to 1")
        fits = torch.stack([(after == outcome).all(-1) for p, outcome in outcomes if p > 0])
        rule(bool(fits.any(0).all()), "apply must give each row one of the outcomes")
    readings: dict[str, Tensor] = {}
    if isinstance(processor, Observable):
        readings |= processor.observe(logits, state)
    if isinstance(processor, ObservesChoice):
        readings |= processor.observe_choice(logits, state, after.argmax(-1))
    rule(all(value.shape == (len(logits),) for value in readings.values()), "readings must be one number a row")
    rule(torch.equal(logits, before), "to be observed must not change the logits")
    rule(torch.equal(processor.apply(logits, state), after), "to be observed must not change the state")


def _check_state(processor: Processor, vocab: Vocab, prompts: Sequence[tuple[int, ...]]) -> None:
    """Run rows that fork and die; then every row's whole past, replayed alone, must give the same result."""
    generator = torch.Generator().manual_seed(1)
    keys = _keys(prompts)
    state = processor.init(prompts, vocab, keys)
    pasts: list[tuple[int, list[tuple[Tensor, int]]]] = [(number, []) for number in range(len(prompts))]
    seen: list[tuple[Tensor, Any, Tensor]] = []
    for step in range(_STEPS):
        rows = len(pasts)
        logits = 2 * torch.randn(rows, vocab.size, generator=generator)
        after = processor.apply(logits, state)
        seen.append((logits.clone(), state, after.clone()))
        for row, (number, past) in enumerate(pasts):
            alone = processor.init([prompts[number]], vocab, keys[torch.tensor([number])])
            for earlier, token in past:
                alone = processor.update(alone, earlier[None], torch.tensor([token]))
            require(
                _same(processor.apply(logits[row : row + 1], alone)[0], after[row]),
                processor,
                f"after {len(past)} steps with forks a row must be what it would be alone; state[rows] must hold all",
            )
        # Every other step all rows go on as they are, which is when the engine hands over the state itself.
        parents = torch.randint(rows, (5,), generator=generator).sort().values if step % 2 else torch.arange(rows)
        probs = after[parents].nan_to_num(neginf=-1e9).softmax(-1)
        tokens = probs.multinomial(1, generator=generator)[:, 0]
        given, chosen = logits[parents], tokens.clone()
        state = processor.update(_rows_of(state, parents) if step % 2 else state, given, tokens)
        unchanged = torch.equal(given, logits[parents]) and torch.equal(tokens, chosen)
        require(unchanged, processor, "update must not change its input")
        pasts = [
            (pasts[p][0], [*pasts[p][1], (logits[p], t)])
            for p, t in zip(parents.tolist(), tokens.tolist(), strict=True)
        ]
    try:
        none = torch.arange(0)
        state = processor.update(_rows_of(state, none), torch.zeros(0, vocab.size), none)
        shape = processor.apply(torch.zeros(0, vocab.size), state).shape
    except (RuntimeError, ValueError, IndexError) as error:
        shape = error
    require(shape == (0, vocab.size), processor, f"must go on when no rows are left, not give {brief(shape)}")
    for logits, old, after in seen:
        kept = torch.equal(processor.apply(logits, old), after)
        require(kept, processor, "update must give a new state and leave the old one as it was")
    _check_join(processor, seen)


def _check_join(processor: Processor, seen: Sequence[tuple[Tensor, Any, Tensor]]) -> None:
    """Put rows of the last step before those of the first, and take one step more with them."""
    (first, begun, after), (later, grown, last) = seen[0], seen[-1]
    if not (can_join(begun) and can_join(grown)):
        return
    joined, logits = join_states([grown, begun]), torch.cat([later, first])
    require(_same(processor.apply(logits, joined), torch.cat([last, after])), processor, "join must keep its rows")
    tokens = torch.cat([last, after]).argmax(-1)
    both = processor.apply(logits, processor.update(joined, logits, tokens))
    parts = [
        processor.apply(given, processor.update(state, given, chosen))
        for given, state, chosen in zip((later, first), (grown, begun), tokens.split(len(later)), strict=False)
    ]
    require(_same(both, torch.cat(parts)), processor, "rows that were joined must go on as they would apart")
