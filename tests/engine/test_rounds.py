"""Searches over texts: what they draw goes on as a sample would that nobody interrupted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

import decodelab as dl
from decodelab.analysis.search_tree import TreeRecorder
from decodelab.core.capabilities import Need
from decodelab.core.chunks import Chunk
from decodelab.core.errors import DecodelabError, EmptySupport, ScorerFailed, StageFailed, UnsupportedStrategy
from decodelab.core.events import Event, Step
from decodelab.core.protocols import Draw, Drawn, LanguageModel, Question, Rounds
from decodelab.core.stage import Kind, Stage
from decodelab.core.values import Candidate, Generation, Limits, Partial
from decodelab.engine.runners.runner import Failed
from decodelab.scorers.judging import judged


@dataclass(frozen=True)
class Chunks(Stage):
    """Draws n samples chunk by chunk, each going on under its own index."""

    n: int = 1
    chunk: Chunk | None = "line"
    most: int | None = None
    look: Callable[[Question, Sequence[Drawn]], None] = field(default=lambda question, drawn: None)

    name: ClassVar[str] = "chunks"
    kind: ClassVar[Kind] = "search"
    needs: ClassVar[Need] = "text"
    source: ClassVar[str] = "this test"
    searches_in_rounds: ClassVar[bool] = True
    if_empty: ClassVar[str] = "loosen the constraint"

    @property
    def peak_rows(self) -> int:
        return self.n

    def rounds(self, question: Question, limits: Limits) -> Rounds:
        going: list[tuple[int, Candidate | None]] = [(i, None) for i in range(self.n)]
        done: list[tuple[Candidate, float]] = []
        while going:
            drawn = yield [Draw(1, i, after, self.chunk, self.most) for i, after in going]
            self.look(question, [one for found in drawn for one in found])
            pairs = [(i, one) for (i, _), found in zip(going, drawn, strict=True) for one in found]
            done += [(one.candidate, float(-i)) for i, one in pairs if one.finished]
            going = [(i, one.candidate) for i, one in pairs if not one.finished]
        return sorted(done, key=lambda pair: -pair[1])


@pytest.fixture(scope="module")
def table() -> dl.TableModel:
    """Words and line ends in any order."""
    row = {"a": 0.3, "b": 0.2, "c.": 0.1, "\n": 0.3, "</s>": 0.1}
    return dl.TableModel(["a", "b", "c.", "\n"], {"a": {"b": 0.5, "\n": 0.5}, ...: row}, bos="<s>")


def found(model: LanguageModel | str, prompt: str, chain: str, search: Stage, **limits: object) -> list[Candidate]:
    stages = [*dl.Strategy.of(chain).stages[:-1], search] if chain else [search]
    return list(dl.generate(model, prompt, stages, **limits)[0].candidates)  # pyright: ignore[reportArgumentType]


def same(these: Sequence[Candidate], those: Sequence[Candidate]) -> bool:
    """Whether two lists of answers are the same, up to what they are ranked by (and rounding)."""

    def said(c: Candidate) -> object:
        return c.tokens, c.text, c.finish_reason, pytest.approx((*c.token_logprobs, *c.processed_logprobs), abs=1e-5)

    return [said(c) for c in these] == [
        (c.tokens, c.text, c.finish_reason, (*c.token_logprobs, *c.processed_logprobs)) for c in those
    ]


CHAINS = [
    "",
    "repetition_penalty=1.3 | frequency_penalty=0.4 | presence_penalty=0.2",
    "dry=2.0 | no_repeat_ngram=3",
    "min_new_tokens=7 | exponential_length(start=4, factor=1.2)",
    "xtc(probability=0.5, threshold=0.1) | temperature=0.7",
    'regex="(a|b|\\n| )+"',
]
"""States over the tokens of the answer, a coin of each position, a constraint."""


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("cut", [("line", None), (None, 2), ("sentence", 3)])
def test_a_draw_goes_on_as_an_uninterrupted_sample(table, chain, cut):
    limits = {"max_new_tokens": 12, "seed": 5}
    whole = found(table, "", chain, dl.Sample(n=6), **limits)
    assert same(found(table, "", chain, Chunks(6, *cut), **limits), whole)


@pytest.mark.parametrize("prompt", ["", "a b"])
def test_what_is_drawn_does_not_depend_on_what_runs_beside_it(table, prompt):
    search = Chunks(4)
    alone = dl.generate(table, prompt, search, max_new_tokens=10)[0]
    beside = dl.generate(table, ["a", "b a", prompt, "b"], search, max_new_tokens=10, max_rows=5)[2]
    assert (alone.candidates, alone.cost.forward_tokens) == (beside.candidates, beside.cost.forward_tokens)


def test_stops_see_the_whole_answer(table):
    """A stop string that ends in another chunk than it begins in, and one that stands at the end of a chunk."""
    for stop in ("a\nb", "\n", "b a"):
        limits = {"max_new_tokens": 20, "seed": 3, "stop": stop}
        assert same(found(table, "", "", Chunks(6), **limits), found(table, "", "", dl.Sample(n=6), **limits)), stop
    chain = 'stop_regex="a.?b" | repetition_stop'
    whole = found(table, "", f"{chain} | sample", dl.Sample(n=6), max_new_tokens=20)
    assert same(found(table, "", f"{chain} | sample", Chunks(6, None, 1), max_new_tokens=20), whole)


def test_an_end_of_a_chunk_is_not_the_end_of_the_answer(table):
    """Chunks hold the mark that ends them, and more than white space."""
    seen: list[Drawn] = []
    found(table, "", "", Chunks(8, look=lambda _, drawn: seen.extend(drawn)), max_new_tokens=12)
    pauses = [one.candidate for one in seen if not one.finished]
    assert pauses
    assert all(c.text.endswith("\n") and c.text.strip() and c.finish_reason == "pruned" for c in pauses)
    assert {one.candidate.finish_reason for one in seen if one.finished} <= {"eos", "length"}
    assert all(one.candidate.score == pytest.approx(one.candidate.processed_logprob) for one in seen)


LONG = "Once upon a time, there was a little cat. She was very happy. One day, she went to the park. "


@pytest.mark.parametrize("most", [3, 20])
def test_no_token_is_computed_twice_where_prefixes_can_be_kept(most):
    model = dl.load("pocket-nano")
    search = Chunks(2, None, most)
    (whole,) = dl.generate(model, LONG, "sample(n=2)", max_new_tokens=30)
    (cut,) = dl.generate(model, LONG, search, max_new_tokens=30)
    assert same(cut.candidates, whole.candidates)
    # The last token of a draw is computed when the next goes on from there.
    assert cut.cost.forward_tokens == whole.cost.forward_tokens
    assert cut.cost.prefill_tokens > whole.cost.prefill_tokens


@pytest.mark.parametrize("strategy", ["guidance(scale=1.5, negative_prompt=Once)", "contrast(amateur=pocket-small)"])
def test_models_that_are_made_of_others_go_on_too(strategy):
    limits = {"max_new_tokens": 12, "seed": 1}
    whole = found("pocket-nano", LONG, f"{strategy} | sample", dl.Sample(n=3), **limits)
    assert same(found("pocket-nano", LONG, f"{strategy} | sample", Chunks(3, None, 5), **limits), whole)


def outcome(model: LanguageModel, search: Stage, chain: str = "", **limits: object) -> Generation | DecodelabError:
    """What becomes of one job, beside one that samples."""
    engine = dl.Engine(model)
    stages = [*dl.Strategy.of(f"{chain} | sample").stages[:-1], search] if chain else [search]
    number = engine.submit("", stages, **limits)  # pyright: ignore[reportArgumentType]
    other = engine.submit("", "sample", max_new_tokens=8)
    outcomes = {done.index: done for done in engine.run()}
    assert isinstance(outcomes[other], Generation)
    assert not engine.rows
    one = outcomes[number]
    return one.error if isinstance(one, Failed) else one


@pytest.mark.filterwarnings("ignore::decodelab.core.notices.FewerCandidates")
def test_a_constraint_without_a_continuation_leaves_the_others(table):
    """Each word once, and four of them: after `a` only `b` and a new line can come, so some answers cannot go on."""
    for search in (Chunks(12), Chunks(12, None, 1)):
        some = outcome(table, search, "no_repeat_ngram=1", min_new_tokens=4, max_new_tokens=6, seed=1)
        assert isinstance(some, Generation)
        assert 0 < len(some.candidates) < 12
        assert {tuple(sorted(c.tokens)) for c in some.candidates} == {(0, 1, 2, 3, 4)}
    dead = outcome(table, Chunks(4), "allow=[a, b] | no_repeat_ngram=1", min_new_tokens=3, max_new_tokens=6)
    assert isinstance(dead, EmptySupport)
    assert str(dead).endswith("found no text; loosen the constraint")


def test_a_scorer_that_fails_fails_its_job_alone(table):
    def ask(question: Question, drawn: Sequence[Drawn]) -> None:
        texts = [Partial("", (), one.candidate.tokens, one.candidate.text) for one in drawn]
        judged(lambda prompt, texts: [float("nan")] * len(texts), texts, question.model)

    assert isinstance(outcome(table, Chunks(4, look=ask), max_new_tokens=6), ScorerFailed)

    def broken(question: Question, drawn: Sequence[Drawn]) -> None:
        raise KeyError("gone")

    error = outcome(table, Chunks(4, look=broken), max_new_tokens=6)
    assert isinstance(error, StageFailed)
    assert "chunks" in str(error)
    assert "KeyError" in str(error)


def test_what_the_search_asks_the_model_is_counted(table):
    def ask(question: Question, drawn: Sequence[Drawn]) -> None:
        assert question.model is not None
        question.model.prefill([question.tokens])

    plain = outcome(table, Chunks(2, None, 3), max_new_tokens=6)
    asking = outcome(table, Chunks(2, None, 3, ask), max_new_tokens=6)
    assert isinstance(plain, Generation)
    assert isinstance(asking, Generation)
    rounds = asking.cost.forward_passes - plain.cost.forward_passes
    assert 1 <= rounds <= 2
    assert asking.cost.decode_tokens - plain.cost.decode_tokens == rounds


@pytest.mark.parametrize("stage", ["mirostat", "adaptive_p(target=0.3)"])
def test_a_state_that_depends_on_past_logits_is_refused_by_name(table, stage):
    error = outcome(table, Chunks(2, None, 2), stage, max_new_tokens=6)
    assert isinstance(error, UnsupportedStrategy)
    assert str(error).startswith(stage[:8])


def test_observers_are_told_of_the_job(table):
    seen: set[int] = set()

    def watch(event: Event) -> None:
        if isinstance(event, Step):
            seen.update(event.generations.tolist())

    dl.generate(table, ["a", "b"], Chunks(3), max_new_tokens=8, observers=[watch])
    assert seen == {0, 1}


def test_interrupted_it_gives_what_there_is(table):
    def stop(event: Event) -> None:
        if isinstance(event, Step) and int(event.positions.max()) == 5:
            raise KeyboardInterrupt

    (whole,) = dl.generate(table, "", "sample(n=6)", max_new_tokens=20, seed=2)
    (cut,) = dl.generate(table, "", Chunks(6), max_new_tokens=20, seed=2, observers=[stop])
    reasons = {c.finish_reason for c in cut.candidates}
    assert "interrupted" in reasons
    assert reasons <= {"eos", "interrupted"}
    for c in cut.candidates:
        assert any(c.tokens == w.tokens[: len(c.tokens)] for w in whole.candidates)


def test_the_tree_of_hypotheses_spans_the_rounds(table):
    """A pause is no end: what was drawn in all rounds hangs together, from the prompt to the answers."""
    recorder = TreeRecorder(table.vocab, pruned=0)
    (found,) = dl.generate(table, "", Chunks(4), max_new_tokens=10, seed=1, observers=[recorder])
    tree = recorder.hypotheses("chunks", found)
    assert sum(node.candidate is not None for node in tree.nodes) == len({c.tokens for c in found.candidates})
    totals = {node.id: node.total for node in tree.nodes}
    for node in tree.nodes:
        assert node.total == pytest.approx(totals.get(node.parent, 0.0) + node.logprob)
        assert not node.ended or node.candidate is not None


def test_what_continues_texts_is_refused_where_rows_are_followed(table):
    with pytest.raises(UnsupportedStrategy, match="cost depends on the texts"):
        dl.predict_cost(table, Chunks(2), prompt_tokens=3, new_tokens=4)
    with pytest.raises(DecodelabError, match="no single next-token distribution"):
        dl.distribution([0.0, 1.0], [Chunks(2)])
    with pytest.raises(UnsupportedStrategy, match="cannot run inside another system's generation"):
        dl.to_logits_processor([Chunks(2)], table.vocab)
    for driver in ("until", "speculative(draft=ngram)"):
        with pytest.raises(UnsupportedStrategy, match=driver[:5]):
            dl.generate(table, "", [Chunks(9), *dl.Strategy.of(f"sample | {driver}").stages[1:]], max_new_tokens=4)


def test_a_search_that_is_cancelled_alone_leaves_no_rows_behind(table: dl.TableModel) -> None:
    """Its draws are gone with the next step; until then there is something to do."""
    engine = dl.Engine(table)
    number = engine.submit("a", Chunks(6, None), max_new_tokens=30)
    for _ in range(3):
        assert list(engine.step()) == []
    assert engine.rows > 1
    assert engine.cancel(number)
    assert list(engine.run()) == []
    assert engine.rows == 0
