"""Prompts that begin alike are computed from where they differ, in whatever order and company they come."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.protocols import LanguageModel
from decodelab.engine.prefix_cache import LEAST, PrefixCache
from decodelab.engine.runners.batched import CHUNK

HEADER = tuple(1 + 7 * i % 300 for i in range(60))
PROMPT = st.tuples(st.integers(0, 60), st.lists(st.integers(300, 303), min_size=1, max_size=24)).map(
    lambda p: (*HEADER[: p[0]], *p[1])
)


@pytest.fixture(scope="module")
def nano() -> LanguageModel:
    return dl.load("pocket-nano")


@pytest.fixture
def tree(nano) -> PrefixCache:
    return PrefixCache(nano, 2**40)


def computed(tree: PrefixCache, *prompts: tuple[int, ...]) -> list[int]:
    found = tree.prefill(prompts)
    return [found.computed[found.prompts.index(p)] for p in prompts]


def test_a_prompt_that_comes_later_is_computed_from_where_it_differs(tree):
    assert computed(tree, (*HEADER, 5, 6)) == [62]
    assert computed(tree, (*HEADER, 8, 9, 9)) == [3]
    assert computed(tree, (*HEADER[:50], 8, 9, 9)) == [3]
    assert computed(tree, HEADER[:40]) == [1]  # the logits after it were not kept
    assert computed(tree, (*HEADER, 8, 9, 9)) == [3]  # too short a rest to be worth keeping
    assert computed(tree, HEADER[:LEAST]) == [LEAST]
    assert computed(tree, (7, *HEADER)) == [61]


def test_prompts_computed_together_share_what_they_begin_with_and_the_first_pays(tree):
    assert computed(tree, *((*HEADER, i) for i in range(300, 304))) == [61, 1, 1, 1]


def test_beginnings_within_beginnings(tree):
    subject = [(*HEADER, *[i] * 40) for i in (5, 6)]
    questions = [(*subject[0], 1), (*subject[0], 2), (*subject[0], 3), (*subject[1], 1), (*subject[1], 2)]
    assert computed(tree, *questions) == [60 + 40 + 1, 1, 1, 40 + 1, 1]


def test_a_pass_computes_as_much_of_every_prompt_in_it(tree):
    computed(tree, HEADER)
    assert computed(tree, (*HEADER, *[5] * 3), (*HEADER, *[6] * 9)) == [9, 9]
    assert computed(tree, (*HEADER, 7), (*HEADER, *[8] * 40)) == [1, 40]  # too different for one


@settings(max_examples=25)
@given(st.lists(st.lists(PROMPT, min_size=1, max_size=4, unique=True), min_size=1, max_size=4), st.integers(0, 3))
def test_the_logits_are_those_of_each_prompt_alone_whatever_is_kept(nano, admissions, kept):
    tree = PrefixCache(nano, kept * 50_000)
    for prompts in admissions:
        found = tree.prefill(prompts)
        assert sorted(found.prompts) == sorted(prompts)
        assert list(found.cache.lengths) == [len(p) for p in found.prompts]
        for row, prompt in enumerate(found.prompts):
            alone, _ = nano.prefill([prompt])
            assert float((found.logits[row] - alone[0]).abs().max()) < 1e-3
        assert tree.nbytes <= kept * 50_000


def test_what_was_not_used_for_longest_is_forgotten_first(nano):
    a, b, c = ((i, *HEADER) for i in (300, 301, 302))
    tree = PrefixCache(nano, 2**40)
    computed(tree, a)
    each = tree.nbytes
    tree.limit(2 * each)
    computed(tree, b)
    assert computed(tree, (*a, 5)) == [1]
    computed(tree, c)
    assert [tree.known(p) > 0 for p in (a, b, c)] == [True, False, True]
    assert tree.nbytes == 2 * each
    tree.limit(each)
    assert [tree.known(p) > 0 for p in (a, b, c)] == [False, False, True]
    tree.clear()
    assert tree.known(c) == tree.nbytes == 0


def test_a_beginning_that_there_is_no_room_for_is_not_computed_apart(nano):
    tree = PrefixCache(nano, 0)
    prompts = [(*HEADER, i) for i in range(300, 304)]
    assert tree.prefill(prompts, room=100).computed == [61] * 4
    assert sorted(tree.prefill(prompts, room=2**30).computed) == [1, 1, 1, 61]
    assert tree.nbytes == 0


def test_a_model_that_cannot_resume_computes_every_prompt_whole():
    table = dl.TableModel(["a", "b"], {...: {"a": 0.6, "b": 0.4}}, eos=None, bos="<s>")
    prompts = [(2, *[0] * 40, i) for i in (0, 1)]
    found = dl.generate(table, prompts, "greedy", max_new_tokens=2, max_rows=1)
    assert [g.cost.prefill_tokens for g in found] == [42, 42]


def run(engine: dl.Engine) -> dict[int, dl.Generation]:
    found = {}
    for done in engine.run():
        assert isinstance(done, dl.Generation), done
        found[done.index] = done
    return found


def test_the_prompts_of_a_run_pay_for_their_header_once(nano):
    prompts = [(*HEADER, *[i] * 4) for i in range(300, 312)]
    engine = dl.Engine(nano, max_rows=4)
    for prompt in prompts:
        engine.submit(prompt, "greedy", max_new_tokens=3)
    assert sum(g.cost.prefill_tokens for g in run(engine).values()) == 60 + 12 * 4
    engine.submit(prompts[0], "beam(width=3)", max_new_tokens=3)
    (again,) = run(engine).values()
    assert again.cost.prefill_tokens == 4
    alone = dl.generate(nano, [prompts[0]], "beam(width=3)", max_new_tokens=3)[0]
    assert [c.tokens for c in again.candidates] == [c.tokens for c in alone.candidates]


def test_a_long_prompt_that_is_mostly_known_joins_at_once(nano):
    long = tuple(1 + 7 * i % 300 for i in range(CHUNK + 100))
    engine = dl.Engine(nano)
    engine.submit((*HEADER, 5), "greedy", max_new_tokens=30)
    list(engine.step())
    first = engine.submit(long, "greedy", max_new_tokens=2)
    second = engine.submit((*long, 9), "greedy", max_new_tokens=2)
    found = run(engine)
    # Of the first, the header is known from the job that runs; of the second, all but its last token.
    assert found[first].cost.prefill_tokens == len(long) - len(HEADER)
    assert found[second].cost.prefill_tokens == 1
    alone = dl.generate(nano, [(*long, 9)], "greedy", max_new_tokens=2)[0]
    assert found[second].best.tokens == alone.best.tokens


def test_what_is_kept_stays_within_what_jobs_leave_of_the_memory(nano):
    prompts = [(i, *HEADER) for i in range(300, 330)]
    memory = 4 * nano.cache_bytes(61, 1, 3)
    engine = dl.Engine(nano, memory=memory)
    for prompt in prompts:
        engine.submit(prompt, "greedy", max_new_tokens=3)
    while engine.busy:
        list(engine.step())
        assert engine.cached_bytes <= memory


def test_many_different_prompts_are_kept_in_bounded_bytes(nano, monkeypatch):
    monkeypatch.setattr("decodelab.engine.prefix_cache.MOST_BYTES", 500_000)
    engine = dl.Engine(nano)
    for i in range(200):
        engine.submit((i % 300, i // 300, *HEADER[i % 30 :]), "greedy", max_new_tokens=1)
    most = 0
    while engine.busy:
        list(engine.step())
        most = max(most, engine.cached_bytes)
    assert 250_000 < most <= 500_000


RESIDENT = """
import random
import decodelab as dl
from decodelab.engine.prefix_cache import PrefixCache
from decodelab.models.memory import give_back_free_memory, resident_bytes

model, draw = dl.load("pocket-nano"), random.Random(0)

def prompts():
    return [tuple(draw.randrange(5, 500) for _ in range(draw.randrange(20, 380))) for _ in range(16)]

PrefixCache(model).prefill(prompts())  # what the first pass of a process makes stays
give_back_free_memory()
before, cache, most = resident_bytes(), PrefixCache(model), 0.0
for _ in range(90):
    cache.prefill(prompts())
    most = max(most, (resident_bytes() - before) / 2**20)
print(cache.nbytes / 2**20, most)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the C library gives memory back on Linux")
def test_a_process_holds_hardly_more_memory_than_the_prompts_it_keeps():
    said = subprocess.run([sys.executable, "-c", RESIDENT], capture_output=True, text=True, check=True).stdout
    kept, most = map(float, said.split())
    assert kept > 250
    assert most < 1.15 * kept
