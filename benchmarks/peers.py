"""Selections of other libraries and ours on the same stored samples: how often they choose the same, and who is right.

    decodelab bench benchmarks/peers.yaml --journal out/peers.journal.sqlite        the samples: ten minutes on one core
    make peers                                                                      its_hub, optillm and mbrs
    git clone https://github.com/huggingface/search-and-learn out/peers/search-and-learn    these two are no packages
    git clone https://github.com/facebookresearch/deepconf out/peers/deepconf
    python benchmarks/peers.py out/peers.journal.sqlite --checkouts out/peers

What is not there is left out, and said. Nothing of theirs is changed: they are given the stored texts in place of a
model or a server, and our rating where they ask for a reward. Each row compares one rule of theirs with ours:

    same     items for which both choose the same answer (as the task reads it; for whole texts the same text)
    ties     of the others, those where the two answers have equal votes, so that either choice follows the rule
    theirs, ours    the mean score of the text chosen

With --examples, the first item in which they differ for another reason than a tie is printed for each row.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import math
import random
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

from decodelab.bench.plan import Plan
from decodelab.bench.scaling.pools import Pool, read_pools
from decodelab.bench.scaling.selecting import selection_of
from decodelab.bench.store import views
from decodelab.bench.store.journal import Journal
from decodelab.core.protocols import Prepared, Selection
from decodelab.select.readers import integer, last_line

READERS: dict[str, tuple[str, Callable[[str], str | None]]] = {
    "pocket-sums": ("integer", integer),
    "pocket-paths": ("line", last_line),
}
"""For each task what counts as the answer, by name and as a function of a text."""

NEEDS_OLD_TRANSFORMERS = ("bertscore", "bleurt", "comet", "cometkiwi", "metricx", "ter", "xcomet")


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of one item.

    Attributes:
        pool: as stored.
        answers: of each, None where it gives none.
        mean_logprobs: of each.
        confidences: of each, the mean of DeepConf's number.
    """

    pool: Pool
    answers: Sequence[str | None]
    mean_logprobs: Sequence[float]
    confidences: Sequence[float]

    @property
    def texts(self) -> list[str]:
        """The texts."""
        return [c.text for c in self.pool.candidates]

    def place(self, answer: str | None, answers: Sequence[str | None]) -> int:
        """The first sample with this answer; the first of all where none has it."""
        return answers.index(answer) if answer in answers else 0


Choose = Callable[[Samples], int]
"""What gives the place of the sample that is chosen."""


@dataclass(frozen=True)
class Row:
    """One rule of theirs beside ours.

    Attributes:
        library, theirs: whose it is and what they call it.
        choose: it.
        ours: our selection; `{answer}` stands for what counts as the answer.
        by_text: whether whole texts are compared, not answers.
    """

    library: str
    theirs: str
    choose: Choose
    ours: str
    by_text: bool = False


def samples_of(pool: Pool, read: Callable[[str], str | None]) -> Samples:
    """What the rows need to know of a pool."""
    known = [c.confidences for c in pool.candidates]
    return Samples(
        pool,
        [read(c.text) for c in pool.candidates],
        [c.logprob / max(len(c.tokens), 1) for c in pool.candidates],
        [math.fsum(k.top) / len(k.top) if k and k.top else 0.0 for k in known],
    )


def replayed(texts: Sequence[str]) -> Any:
    """A client of the OpenAI API whose only answers are these texts."""
    choices = [SimpleNamespace(message=SimpleNamespace(content=text), finish_reason="stop") for text in texts]
    usage = SimpleNamespace(completion_tokens=0)
    return SimpleNamespace(choices=choices, usage=usage, model_dump=dict)


def client(samples: Samples) -> Any:
    """A client that gives all samples at once, and rates one of them when it is asked to."""
    ratings = dict(zip(samples.texts, samples.mean_logprobs, strict=True))

    def create(messages: list[dict[str, str]], n: int = 1, **_: Any) -> Any:
        if messages[-1]["content"] == "Rate the above response:":
            return replayed([repr(ratings[messages[-2]["content"]])])
        return replayed(samples.texts[:n])

    return SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))


def its_hub_rows() -> Iterator[Row]:
    """Red Hat's its_hub."""
    hub = importlib.import_module("its_hub")
    replies: list[dict[str, str]] = []
    scores: dict[str, float] = {}

    class Replay(hub.AbstractOrchestrator):
        """Gives the stored texts."""

        async def agenerate(self, lm: Any, messages_lst: Any, **_: Any) -> Any:
            return list(replies)

    class Rated(hub.AbstractOutcomeRewardModel):
        """Gives our rating."""

        async def ascore(self, conversations: Any, orchestrator: Any = None) -> Any:
            return [scores[conversation[-1].content] for conversation in conversations]

        score = ascore  # abstract there, and not called

    def choose(make: Callable[[Samples], Any]) -> Choose:
        def run(samples: Samples) -> int:
            replies[:] = [{"role": "assistant", "content": text} for text in samples.texts]
            scores.update(zip(samples.texts, samples.mean_logprobs, strict=True))
            random.seed(0)
            found = asyncio.run(make(samples).ainfer(None, "?", len(replies), return_response_only=False))
            return found.selected_index

        return run

    def consistent(samples: Samples) -> Any:
        answers = dict(zip(samples.texts, samples.answers, strict=True))
        return hub.SelfConsistency(answers.__getitem__, orchestrator=Replay())

    yield Row("its_hub", "SelfConsistency, our answers", choose(consistent), "vote(answer={answer})")
    plain = choose(lambda _: hub.SelfConsistency(orchestrator=Replay()))
    yield Row("its_hub", "SelfConsistency", plain, "vote(answer=text)", by_text=True)
    best = choose(lambda _: hub.BestOfN(Rated(), orchestrator=Replay()))
    yield Row("its_hub", "BestOfN", best, "best_of", by_text=True)


def optillm_rows() -> Iterator[Row]:
    """optillm, without its server."""
    sys.modules["optillm.server"] = MagicMock()  # importing it starts one
    voting = importlib.import_module("optillm.plugins.majority_voting_plugin")
    bon = importlib.import_module("optillm.bon")
    clusters = importlib.import_module("optillm.self_consistency")
    deepconf = importlib.import_module("optillm.deepconf.processor")

    def vote(samples: Samples) -> int:
        text, _ = voting.run("", "?", client(samples), "", {"k": len(samples.texts)})
        return samples.texts.index(text)

    def best(samples: Samples) -> int:
        text, _ = bon.best_of_n_sampling("", "?", client(samples), "", n=len(samples.texts))
        return samples.texts.index(text)

    def largest(samples: Samples) -> int:
        found = clusters.AdvancedSelfConsistency(None, "").aggregate_results(samples.texts)
        return samples.texts.index(found["clusters"][0]["answer"])

    def confident(samples: Samples) -> int:
        traces = [
            deepconf.TraceResult([], text, {"average_confidence": confidence})
            for text, confidence in zip(samples.texts, samples.confidences, strict=True)
        ]
        answer, _ = deepconf.DeepConfProcessor.weighted_majority_vote(None, traces)
        return next(i for i, text in enumerate(samples.texts) if optillm_answer(text) == answer)

    yield Row("optillm", "majority_voting", vote, "vote(answer={answer})")
    yield Row("optillm", "best_of_n_sampling", best, "best_of", by_text=True)
    yield Row("optillm", "self_consistency", largest, "vote(answer={answer})")
    yield Row("optillm", "deepconf", confident, "weighted_vote(by=confidence, answer={answer})")


def optillm_answer(text: str) -> str:
    """What optillm's deepconf takes for the answer of a text: what follows the last full stop but one, or its end."""
    return text.strip().split(".")[-1].strip() or text.strip()[-50:].strip()


def sal_rows(checkout: Path) -> Iterator[Row]:
    """Hugging Face's search-and-learn."""
    sys.path.insert(0, str(checkout / "src"))
    found = importlib.import_module("sal.utils.math")

    def majority(read: Callable[[Samples], Sequence[str]]) -> Choose:
        return lambda samples: samples.place(found.find_majority_answer(list(read(samples))), read(samples))

    def ours(samples: Samples) -> Sequence[str]:
        return [answer or "" for answer in samples.answers]

    def own(samples: Samples) -> Sequence[str]:
        return found.extract_completion_answers({"completions": samples.texts})["preds"]

    def largest(samples: Samples) -> int:
        scores = [math.exp(value) for value in samples.mean_logprobs]
        return samples.place(found.find_answer_with_largest_sum(list(ours(samples)), scores), ours(samples))

    def naive(samples: Samples) -> int:
        preds, scores = list(map(str, range(len(samples.texts)))), [math.exp(value) for value in samples.mean_logprobs]
        given = {"preds@1": preds, "agg_scores@1": scores}
        return int(found.compute_naive_pred(given, 1)["pred_naive@1"].removeprefix("\\boxed{").removesuffix("}"))

    yield Row("search-and-learn", "majority, our answers", majority(ours), "vote(answer={answer})")
    yield Row("search-and-learn", "majority", majority(own), "vote(answer={answer})")
    yield Row("search-and-learn", "weighted, our answers", largest, "weighted_vote(answer={answer})")
    yield Row("search-and-learn", "naive (best of n)", naive, "best_of(by=mean_probability)", by_text=True)


def deepconf_rows(checkout: Path) -> Iterator[Row]:
    """The code of DeepConf's authors, offline."""
    sys.path.insert(0, str(checkout / "deepconf"))  # the package itself imports vLLM
    found = importlib.import_module("utils")

    def choose(name: str) -> Choose:
        def run(samples: Samples) -> int:
            traces = [
                {"extracted_answer": answer, "confs": list(c.confidences.top) if c.confidences else []}
                for answer, c in zip(samples.answers, samples.pool.candidates, strict=True)
            ]
            chosen = found.compute_all_voting_results(traces)[name]
            return samples.place(chosen and chosen["answer"], samples.answers)

        return run

    for name, ours in (
        ("majority", "vote(answer={answer})"),
        ("mean_confidence_weighted", "weighted_vote(by=confidence, answer={answer})"),
        ("bottom_window_weighted", "weighted_vote(by=bottom_groups, answer={answer})"),
        ("top10_tail_filtered", "weighted_vote(by=tail, keep=0.1, answer={answer})"),
    ):
        yield Row("deepconf (authors)", name, choose(name), ours)


def mbrs_rows() -> Iterator[Row]:
    """mbrs with chrF."""
    for name in NEEDS_OLD_TRANSFORMERS:
        sys.modules[f"mbrs.metrics.{name}"] = MagicMock()
    decoders, metrics = importlib.import_module("mbrs.decoders"), importlib.import_module("mbrs.metrics")
    chrf = metrics.MetricChrF(metrics.MetricChrF.Config(fastchrf=True))
    decoder = decoders.DecoderMBR(decoders.DecoderMBR.Config(), chrf)
    yield Row("mbrs", "MBR, chrF", lambda s: int(decoder.decode(s.texts, s.texts).idx[0]), "mbr", by_text=True)


def all_rows(checkouts: Path) -> Iterator[Row]:
    """The rows of all libraries that are there; says which are not."""
    sources: list[tuple[str, Callable[[], Iterator[Row]]]] = [
        ("its_hub", its_hub_rows),
        ("optillm", optillm_rows),
        ("search-and-learn", lambda: sal_rows(checkouts / "search-and-learn")),
        ("deepconf", lambda: deepconf_rows(checkouts / "deepconf")),
        ("mbrs", mbrs_rows),
    ]
    for name, rows in sources:
        try:
            yield from list(rows())
        except ImportError as error:
            print(f"{name} is left out: {error} (see --help)", file=sys.stderr)


def ours_of(text: str) -> Choose:
    """Our selection."""
    stage = selection_of(text)

    def run(samples: Samples) -> int:
        assert isinstance(stage, Selection)
        return stage.rank(samples.pool.candidates, samples.pool.question())[0][0].sample

    assert stage is not None
    assert isinstance(stage, Prepared)
    return run


def tied(samples: Samples, one: int, other: int, row: Row) -> bool:
    """Whether two choices have equally many votes."""
    keys = samples.texts if row.by_text else samples.answers
    counts = Counter(keys)
    if row.ours.startswith("best_of"):
        return samples.mean_logprobs[one] == samples.mean_logprobs[other]
    return counts[keys[one]] == counts[keys[other]]


def compared(row: Row, pools: Sequence[Samples], answer: str) -> dict[str, Any]:
    """One row of the table, with the first difference that is no tie."""
    ours = ours_of(row.ours.format(answer=answer))
    same = ties = 0
    theirs_score, ours_score, example = 0.0, 0.0, None
    for samples in pools:
        their, our = row.choose(samples), ours(samples)
        keys = samples.texts if row.by_text else samples.answers
        scores = samples.pool.scores
        theirs_score += float(scores[their])
        ours_score += float(scores[our])
        if keys[their] == keys[our]:
            same += 1
        elif tied(samples, their, our, row):
            ties += 1
        elif example is None:
            counts = Counter(keys)
            example = {
                "prompt": samples.pool.prompt,
                "theirs": [samples.texts[their], counts[keys[their]], float(scores[their])],
                "ours": [samples.texts[our], counts[keys[our]], float(scores[our])],
            }
    return {
        "library": row.library,
        "theirs": row.theirs,
        "ours": row.ours.format(answer=answer),
        "same": same,
        "items": len(pools),
        "ties": ties,
        "score of theirs": theirs_score / len(pools),
        "score of ours": ours_score / len(pools),
        "example": example,
    }


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("journal", type=Path, help="made by decodelab bench benchmarks/peers.yaml")
    parser.add_argument(
        "--checkouts", type=Path, default=Path("out/peers"), help="folder with search-and-learn, deepconf"
    )
    parser.add_argument("--items", type=int, help="items of each task (default all)")
    parser.add_argument("--examples", action="store_true", help="show the first difference of each row")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    plan = Plan.read(Path(__file__).parent / "peers.yaml")
    rows = list(all_rows(given.checkouts))
    results: dict[str, list[dict[str, Any]]] = {}
    with Journal(given.journal, writing=False) as journal:
        for task in plan.task_names:
            prompts = {name: item.prompt for name, item in views.items(journal, plan.digest, task).items()}
            answer, read = READERS[task]
            stored = read_pools(journal, plan.digest, task, plan.models[0], prompts).strategies["hot"]
            pools = [samples_of(pool, read) for pool in stored[: given.items]]
            results[task] = [compared(row, pools, answer) for row in rows]
            if not given.json:
                show(task, results[task], given.examples)
    if given.json:
        print(json.dumps(results, indent=2))
    return 0


def show(task: str, rows: Sequence[dict[str, Any]], examples: bool) -> None:
    """One task's table."""
    print(f"{task}\n    {'theirs':46} {'ours':52} {'same':>9} {'ties':>5} {'theirs':>7} {'ours':>6}")
    for row in rows:
        name = f"{row['library']}: {row['theirs']}"
        print(
            f"    {name:46} {row['ours']:52} {row['same']:>4}/{row['items']:<4} {row['ties']:>5}"
            f" {row['score of theirs']:>7.3f} {row['score of ours']:>6.3f}"
        )
        if examples and row["example"]:
            for who in ("prompt", "theirs", "ours"):
                print(f"        {who}: {row['example'][who]!r}")


if __name__ == "__main__":
    raise SystemExit(main())
