"""A plan is checked whole before anything runs, and what is wrong is said in one line."""

import json
import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from decodelab.bench.plan import Plan
from decodelab.core.errors import DecodelabError
from decodelab.tasks.graph import Graph

GOOD = """
models: [pocket-nano]
strategies: [greedy, temperature=0.5]
tasks: [pocket-sums, {name: pocket-paths, items: 7}]
"""


def test_a_plan_may_be_written_shortly(plan_file):
    plan = Plan.read(plan_file(GOOD))
    assert plan.strategies == {"greedy": "greedy", "temperature=0.5": "temperature=0.5"}
    assert [(t.name, t.items) for t in plan.tasks] == [("pocket-sums", 50), ("pocket-paths", 7)]
    assert plan.baseline_name == "greedy"


def test_the_plan_among_the_examples_is_one():
    plan = Plan.read(Path(__file__).parents[2] / "examples" / "sweep.yaml")
    assert (len(plan.strategies), len(plan.models), plan.baseline_name) == (7, 2, "greedy")


def test_a_task_that_is_asked_twice_is_numbered(plan_file):
    plan = Plan.read(plan_file(GOOD.replace("pocket-paths", "pocket-sums")))
    assert plan.task_names == ("pocket-sums #1", "pocket-sums #2")


def test_items_of_a_file_are_found_from_where_the_plan_is(plan_file, tmp_path):
    (tmp_path / "q.jsonl").write_text('{"question": "2 + 2?", "choices": ["3", "4"], "answer": 1}')
    plan = Plan.read(plan_file(GOOD.replace("pocket-sums", "{name: mmlu, file: q.jsonl, items: 1}")))
    assert plan.tasks[0].examples()[1][0].reference == "B"


def test_a_task_is_given_its_own_parameters(plan_file):
    plan = Plan.read(plan_file(GOOD.replace("pocket-sums", "{name: graph, items: 2, ties: all}")))
    assert plan.tasks[0].task() == Graph(ties="all")
    assert plan.digest != Plan.read(plan_file(GOOD.replace("pocket-sums", "{name: graph, items: 2}"))).digest


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("models:", "modles:", "unknown field 'modles'; did you mean 'models'?"),
        ("items: 7", "item: 7", "unknown field 'item'; did you mean 'items'?"),
        ("items: 7", "ties: all", "task pocket-paths: unknown field 'ties'"),
        ("pocket-sums", "{name: graph, ties: some}", "graph: ties must be published or all, got 'some'"),
        ("pocket-sums", "{name: graph, ties: 3}", "task graph: ties: input should be a valid string, got '3'"),
        ("items: 7", "items: 0", "tasks.1.items: input should be greater than or equal to 1, got '0'"),
        ("items: 7", "items: many", "tasks.1.items"),
        ("[pocket-nano]", "[]", "models"),
        ("[greedy, temperature=0.5]", "[greedy, tempreature=0.5]", "did you mean 'temperature'"),
        ("[greedy, temperature=0.5]", "{cold: temperature=-1}", "strategy 'cold': temperature"),
        ("pocket-sums", "pocket-sum", "unknown task 'pocket-sum'; did you mean 'pocket-sums'?"),
        ("pocket-sums", "mmlu", "task mmlu needs a file"),
        ("pocket-sums", "{name: mmlu, file: nowhere.csv}", "cannot read"),
        ("tasks:", "baseline: gredy\ntasks:", "there is no strategy 'gredy'; did you mean 'greedy'?"),
        ("models: [pocket-nano]", "models: [", "is not YAML"),
        ("models: [pocket-nano]", "models: !!timestamp soon", "is not YAML"),
        ("models: [pocket-nano]", "models: [2001-99-99]", "is not YAML"),
        ("models: [pocket-nano]", "", "models is missing"),
        ("[pocket-nano]", "[pocket-nan]", "there is no shipped model and no directory 'pocket-nan'; did you mean"),
        ("[pocket-nano]", "[pocket-nano, pocket-nano]", "models: 'pocket-nano' is there twice; leave one out"),
        ("tasks:", "seeds: [1, 2, 1]\ntasks:", "seeds: 1 is there twice; leave one out"),
        ("tasks:", "seeds: [one]\ntasks:", "seeds.0"),
    ],
)
def test_what_is_wrong_with_a_plan_is_said_in_one_line(plan_file, old, new, message):
    with pytest.raises(DecodelabError) as error:
        Plan.read(plan_file(GOOD.replace(old, new)))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_plan_is_parsed_where_neither_its_data_nor_its_models_are(plan_file):
    text = GOOD.replace("pocket-sums", "{name: mmlu, file: gone.csv}").replace("pocket-nano", "./gone")
    plan = Plan.parse(plan_file(text))
    with pytest.raises(DecodelabError, match="cannot read"):
        plan.check_data()


def test_a_plan_is_the_same_from_wherever_it_is_read(plan_file, tmp_path, monkeypatch):
    (tmp_path / "q.jsonl").write_text('{"question": "2 + 2?", "choices": ["3", "4"], "answer": 1}')
    file = plan_file(GOOD.replace("pocket-sums", "{name: mmlu, file: q.jsonl, items: 1}"))
    monkeypatch.chdir(tmp_path)
    assert Plan.read(Path(file.name)).digest == Plan.read(file).digest


def test_settings_of_a_model_that_default_cannot_honour_are_refused_before_anything_runs(plan_file, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(Path(str(files("decodelab.models"))) / "shipped" / "pocket-nano", model)
    (model / "generation_config.json").write_text(json.dumps({"penalty_alpha_x": 0.6, "num_beams": 3, "low_memory": 7}))
    text = GOOD.replace("pocket-nano", str(model)).replace("greedy", "default")
    with pytest.raises(DecodelabError, match=r"default of .*penalty_alpha_x"):
        Plan.read(plan_file(text))


def test_more_items_than_a_file_has_are_refused(plan_file, tmp_path):
    (tmp_path / "q.jsonl").write_text('{"question": "2 + 2?", "choices": ["3", "4"], "answer": 1}')
    with pytest.raises(DecodelabError, match="has 1 items, 2 are asked for"):
        Plan.read(plan_file(GOOD.replace("pocket-sums", "{name: mmlu, file: q.jsonl, items: 2}")))
