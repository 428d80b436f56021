"""DeepConf online: what it saves and what becomes of the vote, on the stored samples of benchmarks/peers.yaml.

    decodelab bench benchmarks/peers.yaml --journal out/peers.journal.sqlite        the samples: ten minutes on one core
    python benchmarks/deepconf.py out/peers.journal.sqlite

Sample i of `deepconf` is sample i of `sample`, so the search is run on what is stored: each draw it wants is cut from
the stored sample of that index, and the tokens it takes are counted. Scores are means over items; tokens are generated
ones, as a share of those of all 64 samples. Differences to the vote of all 64 are paired by item, with 95 % intervals.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from decodelab.bench.plan import Plan
from decodelab.bench.scaling.pools import Pool, read_pools
from decodelab.bench.store import views
from decodelab.bench.store.journal import Journal
from decodelab.core.protocols import Draw, Drawn
from decodelab.core.values import Candidate, Confidences, Limits
from decodelab.metrics.paired import paired_difference
from decodelab.select.deepconf import DeepConf
from decodelab.select.vote import Vote
from decodelab.select.weighted_vote import WeightedVote

ANSWERS = {"pocket-sums": "integer", "pocket-paths": "line"}
WINDOWS = (8, 32)


def beginning(sample: Candidate, length: int) -> Candidate:
    """The first tokens of a stored sample."""
    known = sample.confidences
    assert known is not None
    return replace(
        sample,
        tokens=sample.tokens[:length],
        confidences=Confidences(known.entropy[:length], known.self_certainty[:length], known.top[:length]),
    )


def run(search: DeepConf, pool: Pool) -> tuple[Candidate, int]:
    """What a search takes from a pool, and the tokens that it has drawn."""
    rounds = search.rounds(pool.question(), Limits())
    tokens = 0
    wanted: Sequence[Draw] = next(rounds)
    while True:
        found: list[list[Drawn]] = []
        for draw in wanted:
            own: list[Drawn] = []
            for index in range(draw.first, draw.first + draw.n):
                sample = pool.candidates[index]
                begun = len(draw.after.tokens) if draw.after else 0
                length = len(sample.tokens) if draw.most is None else min(len(sample.tokens), begun + draw.most)
                tokens += length - begun
                own.append(Drawn(beginning(sample, length), length == len(sample.tokens)))
            found.append(own)
        try:
            wanted = rounds.send(found)
        except StopIteration as end:
            return end.value[0][0], tokens


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("journal", type=Path, help="made by decodelab bench benchmarks/peers.yaml")
    given = parser.parse_args()
    plan = Plan.read(Path(__file__).parent / "peers.yaml")
    with Journal(given.journal, writing=False) as journal:
        for task in plan.task_names:
            prompts = {name: item.prompt for name, item in views.items(journal, plan.digest, task).items()}
            pools = read_pools(journal, plan.digest, task, plan.models[0], prompts).strategies["hot"]
            answer = ANSWERS[task]
            vote = [float(p.scores[Vote(answer).rank(p.candidates, p.question())[0][0].sample]) for p in pools]
            print(f"{task}: the vote of all {len(pools[0])} scores {sum(vote) / len(vote):.3f}")
            for window in WINDOWS:
                weighted = WeightedVote("lowest_group", answer, window=window)
                scores = [float(p.scores[weighted.rank(p.candidates, p.question())[0][0].sample]) for p in pools]
                show(str(weighted), scores, vote, 1.0)
                for keep in (0.1, 0.5, 0.9):
                    for consensus in (None, 0.95):
                        search = DeepConf(64, 16, keep, consensus, answer, window, piece=8)
                        found = [run(search, pool) for pool in pools]
                        scores = [float(p.scores[c.sample]) for (c, _), p in zip(found, pools, strict=True)]
                        drawn = sum(tokens for _, tokens in found)
                        show(str(search), scores, vote, drawn / sum(len(c.tokens) for p in pools for c in p.candidates))
    return 0


def show(name: str, scores: Sequence[float], vote: Sequence[float], share: float) -> None:
    """One line."""
    print(f"    {name:84} {sum(scores) / len(scores):.3f}  {100 * share:5.1f} %  {paired_difference(scores, vote)}")


if __name__ == "__main__":
    raise SystemExit(main())
