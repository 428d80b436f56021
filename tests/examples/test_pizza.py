"""examples/pizza.py prints distributions that can be checked by hand, and draws that agree with them."""

import math
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import decodelab as dl

PIZZA = Path(__file__).parents[2] / "examples" / "pizza.py"


@pytest.fixture(scope="module")
def printed() -> dict[str, tuple[list[float], list[float]]]:
    """The distribution and the frequencies of each strategy, as printed."""
    result = subprocess.run([sys.executable, "-W", "error", str(PIZZA)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["pizza", "burger", "pasta", "salad", "sushi"]
    assert [float(x) for x in lines[1].split()[1:]] == [2.0, 1.5, 0.5, 0.2, -0.1]
    table = {}
    for distribution, drawn in zip(lines[2::2], lines[3::2], strict=True):
        frequencies = [float(cell.split()[0]) for cell in re.findall(r"\d\S*(?: ±\S+)?", drawn)]
        table[distribution[:26].strip()] = ([float(x) for x in distribution[26:].split()], frequencies)
    return table


def softmax(*logits: float) -> list[float]:
    weights = [math.exp(x) for x in logits]
    return [w / sum(weights) for w in weights]


def test_the_distributions_are_those_written_out_by_hand(printed):
    near = pytest.approx
    assert printed["sample"][0] == near(softmax(2, 1.5, 0.5, 0.2, -0.1), abs=1e-4)
    assert printed["temperature=0.5"][0] == near(softmax(4, 3, 1, 0.4, -0.2), abs=1e-4)
    assert printed["temperature=2"][0] == near(softmax(1, 0.75, 0.25, 0.1, -0.05), abs=1e-4)
    assert printed["greedy"][0] == [1, 0, 0, 0, 0]
    assert printed["top_k=2"][0] == near([*softmax(2, 1.5), 0, 0, 0], abs=1e-4)
    assert printed["top_p=0.8"][0] == near([*softmax(2, 1.5, 0.5), 0, 0], abs=1e-4)
    assert printed["min_p=0.15"][0] == near([*softmax(2, 1.5, 0.5, 0.2), 0], abs=1e-4)
    assert printed["typical_p=0.2"][0] == [0, 1, 0, 0, 0]


def test_the_order_of_a_chain_matters(printed):
    flat_first, cut_first = printed["temperature=2 | top_p=0.8"][0], printed["top_p=0.8 | temperature=2"][0]
    assert flat_first == pytest.approx([*softmax(1, 0.75, 0.25, 0.1), 0], abs=1e-4)
    assert cut_first == pytest.approx([*softmax(1, 0.75, 0.25), 0, 0], abs=1e-4)


def test_the_draws_agree_with_the_distributions(printed):
    for distribution, frequencies in printed.values():
        for p, frequency in zip(distribution, frequencies, strict=True):
            # 50 comparisons: five standard errors come by chance in one run of 30,000, and the seed is fixed.
            assert abs(frequency - p) <= 5 * math.sqrt(p * (1 - p) / 10_000) + 1e-3


def test_the_draws_are_those_of_generate():
    example = runpy.run_path(str(PIZZA))
    distribution = dl.distribution(example["LOGITS"], "top_p=0.8")
    words = dict(zip(example["WORDS"], dl.distribution(example["LOGITS"], "sample").double().tolist(), strict=True))
    words["sushi"] += 1 - sum(words.values())
    model = dl.TableModel(list(words), {...: words}, eos=None)
    drawn = dl.generate(model, [(0,)], "top_p=0.8 | sample(n=500)", max_new_tokens=1, max_rows=500)[0].candidates
    mine = example["frequencies"](distribution, 500, prompt=(0,))
    assert mine == pytest.approx([sum(c.tokens == (t,) for c in drawn) / 500 for t in range(5)], abs=1e-6)
