"""Keys of answers: whatever a text depends on is in its key, and only that."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from decodelab.bench.records import key_of
from decodelab.bench.run.worker import Worker
from decodelab.bench.run.worklist import load_tasks
from decodelab.core.values import Limits
from decodelab.models.loading import model_info

OWN = {"model_digest": "m", "strategy": "greedy", "prompt": (1, 2), "sample": 0, "seed": 0, "limits": Limits()}
OTHER = {
    "model_digest": "n",
    "strategy": "sample",
    "prompt": (1, 2, 3),
    "sample": 1,
    "seed": 1,
    "limits": Limits(max_new_tokens=3),
}


@pytest.mark.parametrize("part", OTHER)
def test_a_key_changes_with_each_of_its_parts(part):
    assert key_of(**OWN) == key_of(**OWN)
    assert key_of(**OWN) != key_of(**(OWN | {part: OTHER[part]}))


@pytest.mark.parametrize(
    "limits",
    [Limits(max_new_tokens=3), Limits(min_new_tokens=1), Limits(stop=("a",)), Limits(stop_token_ids=(1,))],
)
def test_a_key_changes_with_each_limit(limits):
    assert key_of(**(OWN | {"limits": limits})) != key_of(**OWN)


@pytest.fixture
def other(tmp_path) -> Path:
    """A second model."""
    return Path(shutil.copytree(model_info("pocket-nano").path, tmp_path / "other"))


@pytest.mark.parametrize(
    "strategy",
    [
        "contrast(amateur={}) | greedy",
        "mix(models=[{}]) | sample",
        "greedy | speculative(draft={})",
        "temperature=0.8 | sample | speculative(draft={})",
    ],
)
@pytest.mark.parametrize("change", ["weights", "generation config"])
def test_the_other_models_of_a_strategy_are_in_its_key(small, other, strategy, change):
    def keys():
        plan = small(strategies={"one": strategy.format(json.dumps(str(other)))})
        worker = Worker()
        worker.begin(plan, load_tasks(plan))
        return [one.keys for one in worker.worklist("pocket-nano")]

    before = keys()
    assert before == keys()
    if change == "weights":
        weights = load_file(other / "model.safetensors")
        weights["model.norm.weight"] *= 1.5
        save_file(weights, other / "model.safetensors", {"format": "pt"})
    else:
        file = other / "generation_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"temperature": 0.3}))
    assert not set(before) & set(keys())
