"""The runner of tree searches: what it computes, keeps, tells and does when something goes wrong."""

from dataclasses import replace

import pytest
import torch

import decodelab as dl
from decodelab.core.errors import ForwardFailed, NonFiniteLogits, TooLarge
from decodelab.core.events import Event, Step
from decodelab.core.notices import FewerCandidates
from decodelab.core.protocols import Forkable, LanguageModel
from decodelab.engine.runners.tree_cache import TreeCache


@pytest.fixture(scope="module")
def nano() -> LanguageModel:
    return dl.load("pocket-nano")


@pytest.fixture
def table() -> dl.TableModel:
    return dl.TableModel(["a", "b", "c"], {...: {"a": 0.4, "b": 0.3, "c": 0.2, "</s>": 0.1}}, bos="<s>")


class WithoutForks:
    """A model whose caches cannot be forked, and which counts its passes."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.started: list[int] = []

    def prefill(self, prompts):
        self.started.append(len(prompts))
        logits, cache = self.model.prefill(prompts)
        return logits, _Plain(cache)

    def decode(self, cache, tokens):
        logits, held = self.model.decode(cache.held, tokens)
        return logits, _Plain(held)

    def __getattr__(self, name):
        return getattr(self.model, name)


class _Plain:
    def __init__(self, held):
        self.held = held

    @property
    def lengths(self):
        return self.held.lengths

    @property
    def nbytes(self):
        return self.held.nbytes

    def select(self, rows):
        return _Plain(self.held.select(rows))


def test_on_a_real_model_the_distributions_of_a_tree_are_those_of_the_sequences(nano):
    (g,) = dl.generate(nano, "What is 2 + 3?", "temperature=1.3 | k_best(n=4, rows=3)", max_new_tokens=8)
    for c in g.candidates:
        tokens = (*g.prompt_tokens, *c.tokens)
        for i, (logprob, distribution) in enumerate(zip(c.token_logprobs, c.processed_logprobs, strict=True)):
            logits = nano.prefill([tokens[: len(g.prompt_tokens) + i]])[0][0].double()
            assert logprob == pytest.approx(float(logits.log_softmax(-1)[c.tokens[i]]), abs=1e-4)
            assert distribution == pytest.approx(float((logits / 1.3).log_softmax(-1)[c.tokens[i]]), abs=1e-4)
        assert c.score == pytest.approx(c.processed_logprob, abs=1e-6)


def test_every_node_is_computed_once_and_counted(nano):
    (g,) = dl.generate(nano, "What is 2 + 3?", "astar(budget=60, rows=4)", max_new_tokens=12)
    assert g.certificate is not None
    assert g.cost.prefill_tokens == len(g.prompt_tokens)
    assert g.cost.decode_tokens == g.certificate.evaluated
    assert g.cost.forward_passes <= 1 + g.certificate.evaluated
    assert g.cost.peak_cache_bytes > 0


@pytest.mark.parametrize("strategy", ["astar(budget=80, rows=4)", "k_best(n=3, budget=80)", "best_first(width=4)"])
def test_whatever_is_kept_the_result_is_the_same(nano, strategy):
    def run(model: LanguageModel, **options):
        engine = dl.Engine(model, **options)
        engine.submit("Once upon a time", strategy, max_new_tokens=8)
        (g,) = engine.run()
        assert isinstance(g, dl.Generation)
        return g

    whole = run(nano)
    prompt = len(whole.prompt_tokens)
    tight = run(nano, memory=nano.cache_bytes(prompt, 4, 8))
    plain = run(WithoutForks(nano))  # pyright: ignore[reportArgumentType]
    for other in (tight, plain):
        assert [c.tokens for c in other.candidates] == [c.tokens for c in whole.candidates]
        assert [c.score for c in other.candidates] == pytest.approx([c.score for c in whole.candidates], abs=1e-3)
    assert tight.cost.decode_tokens >= whole.cost.decode_tokens
    assert tight.cost.peak_cache_bytes <= whole.cost.peak_cache_bytes
    assert plain.cost.prefill_tokens > whole.cost.prefill_tokens


def test_what_does_not_fit_the_memory_is_computed_again(nano):
    prompt = nano.vocab.encode("Once upon a time")
    cache = TreeCache(nano, prompt, most_rows=1, most_bytes=None)
    cache.prefill()
    cache.decode([0, 0], [10, 11])
    cache.decode([1], [12])  # node 1 was let go of with node 2: one row is kept
    logits = cache.decode([2, 3], [13, 14])
    assert cache.decoded == 2 + 2 + 2 + 1  # node 1 was computed again for node 3, node 2 for node 4
    for row, tokens in enumerate(([11, 13], [10, 12, 14])):
        expected = nano.prefill([(*prompt, *tokens)])[0][0]
        torch.testing.assert_close(logits[row], expected, atol=1e-4, rtol=1e-4)


def test_closed_nodes_are_forgotten(table):
    cache = TreeCache(table, (4,), most_rows=100, most_bytes=None)
    cache.prefill()
    cache.decode([0, 0, 0], [0, 1, 2])
    cache.decode([1, 2, 2], [0, 0, 1])
    held = cache.nbytes
    cache.close([4, 5])
    assert cache.nbytes < held
    cache.close([1, 2, 3, 6])
    assert cache.nbytes == cache.model.prefill([(4,)])[1].nbytes
    again = cache.decode([1], [1])  # from the prompt: node 1 is not kept any more
    assert cache.path(7) == [0, 1]
    assert cache.decoded == 3 + 3 + 2
    torch.testing.assert_close(again, table.prefill([(4, 0, 1)])[0])


def test_the_context_may_be_used_to_the_last_token():
    model = dl.TableModel(["a", "b"], {...: {"a": 0.6, "b": 0.4}}, eos=None, bos="<s>", context_length=6)
    (g,) = dl.generate(model, "a a", "k_best(n=3, rows=5)", max_new_tokens=99)
    assert [len(c.tokens) for c in g.candidates] == [3] * 3  # <s> a a and three more


def test_observers_see_each_node_with_the_children_chosen_of_it(table):
    steps: list[Step] = []

    def observe(event: Event) -> None:
        if isinstance(event, Step):
            steps.append(replace(event, read_prefixes=lambda prefixes=event.prefixes: prefixes))

    (g,) = dl.generate(table, "", "top_k=2 | k_best(n=3)", max_new_tokens=3, observers=[observe])
    children = set()
    ended = set()
    for step in steps:
        (prefix,) = step.prefixes
        assert len(prefix) == int(step.positions[0])
        assert prefix == () or prefix in children  # a node is seen before its children
        (view,) = step.stages
        assert view.name == "top_k=2"
        assert torch.equal(view.after, step.processed)
        for token, over in zip(step.tokens.tolist(), step.ended.tolist(), strict=True):
            (ended if over else children).add((*prefix, token))
    assert {c.tokens for c in g.candidates} <= ended


def test_ctrl_c_returns_what_was_found_so_far(table):
    class CtrlC:
        def __init__(self, at: int) -> None:
            self.left = at

        def __call__(self, event: Event) -> None:
            if isinstance(event, Step):
                self.left -= 1
                if not self.left:
                    raise KeyboardInterrupt

    found = dl.generate(table, ["a", "b"], "exact", max_new_tokens=6, observers=[CtrlC(3)])
    assert [g.index for g in found] == [0]  # the second had not begun
    assert found[0].best.finish_reason == "eos"
    assert found[0].certificate is not None
    assert not found[0].certificate.proved
    (begun,) = dl.generate(table, "a", "exact(cut=false)", max_new_tokens=6, observers=[CtrlC(1)])
    assert (begun.best.tokens, begun.best.finish_reason) == ((), "interrupted")


def test_jobs_are_cancelled_before_and_after_they_began(table):
    engine = dl.Engine(table)
    first, second, third = (engine.submit("a", "exact", max_new_tokens=4) for _ in range(3))
    list(engine.step())
    assert engine.rows == 1
    assert engine.cancel(first)
    assert engine.cancel(second)
    assert not engine.cancel(second)
    assert [g.index for g in engine.run()] == [third]
    assert not engine.busy


def test_trees_and_batches_share_an_engine(table):
    engine = dl.Engine(table)
    a = engine.submit("a", "exact", max_new_tokens=3)
    b = engine.submit("a", "greedy", max_new_tokens=3)
    assert {g.index for g in engine.run()} == {a, b}


class Breaks:
    """A model that fails, or says nonsense, in its n-th pass."""

    def __init__(self, model: LanguageModel, at: int, value: float | None) -> None:
        self.model, self.left, self.value = model, at, value

    def decode(self, cache, tokens):
        self.left -= 1
        logits, cache = self.model.decode(cache, tokens)
        if not self.left:
            if self.value is None:
                raise RuntimeError("out of memory")
            logits[0, :, 0] = self.value
        return logits, cache

    def __getattr__(self, name):
        return getattr(self.model, name)


def test_what_the_model_raises_fails_its_job_and_the_next_goes_on(table):
    engine = dl.Engine(Breaks(table, 3, None))  # pyright: ignore[reportArgumentType]
    engine.submit("a", "exact", max_new_tokens=5)
    engine.submit("b", "exact", max_new_tokens=5)
    failed, done = engine.run()
    assert isinstance(failed, dl.Failed)
    assert isinstance(failed.error, ForwardFailed)
    assert "the forward pass failed: out of memory" in str(failed.error)
    assert isinstance(done, dl.Generation)


@pytest.mark.parametrize(("value", "what"), [(float("nan"), "NaN"), (float("inf"), r"\+inf")])
def test_logits_that_are_no_distribution_are_refused_by_name(table, value, what):
    with pytest.raises(NonFiniteLogits, match=f"table returned {what} as logits for prompt 0 at new token 2"):
        dl.generate(Breaks(table, 1, value), "a", "exact", max_new_tokens=5)  # pyright: ignore[reportArgumentType]


def test_a_pass_that_can_never_fit_the_memory_is_refused(nano):
    engine = dl.Engine(nano, memory=1000)
    with pytest.raises(
        TooLarge, match=r"prompt 0 under exact may need .* bytes of cache for one pass, memory allows 1,000"
    ):
        engine.submit("Once", "exact", max_new_tokens=5)


def test_a_table_and_a_transformers_cache_can_be_forked(nano, table):
    for model in (nano, table):
        assert isinstance(model.prefill([(1,)])[1], Forkable)


def test_made_models_are_searched_too(nano):
    strategy = "guidance(scale=1.5) | k_best(n=2, budget=40, rows=4)"
    (g,) = dl.generate(nano, "What is 2 + 3?", strategy, max_new_tokens=6)
    (beam,) = dl.generate(nano, "What is 2 + 3?", "guidance(scale=1.5) | beam(width=8, n=2)", max_new_tokens=6)
    assert g.best.processed_logprob >= beam.best.processed_logprob - 1e-4
    assert g.certificate is not None
    assert g.cost.decode_tokens == g.certificate.evaluated


def test_constraints_that_leave_fewer_than_were_asked_for_say_so():
    words = ["yes", "no", "maybe"]
    model = dl.TableModel(words, {...: {"yes": 0.2, "no": 0.3, "maybe": 0.4, "</s>": 0.1}}, bos="<s>")
    with pytest.warns(FewerCandidates, match=r"found 2 of 5 candidates; k_best\(n=5\) .* satisfy regex"):
        (g,) = dl.generate(model, "", 'regex="(yes|no)" | k_best(n=5)', max_new_tokens=4)
    assert [c.text for c in g.candidates] == ["no", "yes"]
    assert g.certificate is not None
    assert g.certificate.proved
