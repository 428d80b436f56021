"""`decodelab calibrate`: from confidences to intervals, a temperature and a diagram."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

QUICK = ("--resamples", "100")


def write(file: Path, rows: list[dict]) -> str:
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return str(file)


def course(confidence: list[float], correct: list[int]) -> list[dict]:
    return [{"confidence": p, "correct": y} for p, y in zip(confidence, correct, strict=True)]


@pytest.fixture
def overconfident(folder: Path) -> str:
    rng = np.random.default_rng(0)
    odds = rng.normal(0.5, 1, 240)
    rows = [
        {
            "id": f"a{i}",
            "prompt": i // 2,
            "confidence": 1 / (1 + math.exp(-2 * x)),
            "correct": bool(u < 1 / (1 + math.exp(-x))),
        }
        for i, (x, u) in enumerate(zip(odds, rng.random(240), strict=True))
    ]
    return write(folder / "answers.jsonl", rows)


def test_the_first_case_of_the_course(run, folder: Path):
    write(folder / "c1.jsonl", course([0.9, 0.9, 0.8, 0.8, 0.7, 0.7], [1, 0, 1, 0, 1, 1]))
    found = run("calibrate", "c1.jsonl", "--size", "3", *QUICK)
    assert found.code == 0
    rows = {line.split()[0]: line.split()[1] for line in found.stdout.splitlines() if " to " in line}
    assert (rows["ece"], rows["macro_ce"], rows["brier"]) == ("0.133", "0.538", "0.280")
    assert "no recalibration: fewer than 40" in found.stderr


def test_json_has_every_quantity_with_its_interval(run, overconfident: str):
    document = run("calibrate", overconfident, "--cluster", "prompt", "--json", *QUICK).json
    assert (document["items"], document["clusters"]) == (240, 120)
    for name, estimate in document["estimates"].items():
        assert estimate["low"] <= estimate["value"] <= estimate["high"], name
    assert document["estimates"]["overconfidence"]["low"] > 0
    assert document["ece_if_calibrated"]["p_value"] < 0.05
    assert sum(b["count"] for b in document["bins"]) == 240
    parts = document["brier_parts"]
    brier = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within"]
    assert brier == pytest.approx(document["estimates"]["brier"]["value"])


def test_the_temperature_is_fitted_on_some_items_and_tested_on_others(run, overconfident: str):
    document = run("calibrate", overconfident, "--json", *QUICK).json["recalibration"]
    assert document["method"] == "temperature"
    assert document["parameters"]["temperature"] == pytest.approx(2, abs=0.8)
    assert document["validation_items"] + document["test_items"] == 240
    before, after = (document[k]["estimates"]["nll"] for k in ("before", "after"))
    assert before["n"] == after["n"] == document["test_items"]
    assert after["value"] < before["value"]


@pytest.mark.parametrize("method", ["platt", "isotonic", "none"])
def test_other_methods(run, overconfident: str, method: str):
    document = run("calibrate", overconfident, "--method", method, "--json", *QUICK).json
    assert document.get("recalibration", {"method": "none"})["method"] == method


def test_the_terminal_says_what_recalibration_did(run, overconfident: str):
    out = run("calibrate", overconfident, *QUICK).stdout
    assert "temperature fitted on" in out
    assert "Brier changed by" in out


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".html"])
def test_a_diagram_of_each_kind_and_the_same_each_time(run, overconfident: str, folder: Path, suffix: str):
    files = [folder / f"d{i}{suffix}" for i in range(2)]
    for file in files:
        assert run("calibrate", overconfident, "--diagram", str(file), *QUICK).code == 0
    first, second = (f.read_bytes() for f in files)
    assert len(first) > 5000
    if suffix != ".html":
        assert first == second
    else:
        assert b"http://" not in first.replace(b"http://www.w3.org", b"").replace(b"http://purl.org", b"").replace(
            b"http://creativecommons.org", b""
        )
        assert b"<svg" in first
        assert b"macro_ce" in first


def test_confidences_come_in_every_form(run, folder: Path):
    forms = {
        "statement": [{"statement": f"I am {p} % sure", "correct": y} for p, y in ((90, 1), (60, 0), (80, 1))],
        "logprob": [{"logprob": -0.5 * i, "tokens": 3, "correct": i % 2} for i in range(3)],
        "samples": [{"samples": ["4", "4", None], "answer": "4"}, {"samples": ["5", "6", "6"], "answer": "5"}],
        "logprobs": [{"logprobs": [-1.0, -2.0], "answer": 0}, {"logprobs": [-3.0, -1.0], "answer": 0}],
    }
    expected = {
        "statement": [0.9, 0.6, 0.8],
        "logprob": [1, math.exp(-1 / 6), math.exp(-1 / 3)],
        "samples": [2 / 3, 2 / 3],
        "logprobs": [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))],
    }
    document = {}
    for form, rows in forms.items():
        document = run("calibrate", write(folder / f"{form}.jsonl", rows), "--method", "none", "--json", *QUICK).json
        assert document["estimates"]["mean_confidence"]["value"] == pytest.approx(np.mean(expected[form])), form
    assert "adaptive_ce" in document["estimates"]


def test_answers_without_a_confidence_are_counted(run, folder: Path):
    rows = [{"statement": t, "correct": 1} for t in ("50 %", "no idea", "70 %")]
    found = run("calibrate", write(folder / "s.jsonl", rows), "--json", *QUICK)
    assert (found.json["items"], found.json["left_out"]) == (2, 1)
    assert "1 answers state no confidence" in found.stderr


def test_long_answers_are_judged_criterion_by_criterion(run, folder: Path):
    criteria = [{"verdict": v, "confidence": 0.75} for v in (1, 1, 1, 0)]
    important = {"verdict": 0, "confidence": 0.5, "weight": 2}
    write(folder / "long.jsonl", [{"criteria": criteria}, {"criteria": [*criteria[:3], important]}])
    document = run("calibrate", "long.jsonl", "--json", *QUICK).json
    assert document["macro_ce"]["right"] == pytest.approx(0.25)
    assert document["value"] == pytest.approx((0.25 + (0.25 * 0.75 + 0.4 * 0.5) / 0.65) / 2)
    assert "weighted MacroCE" in run("calibrate", "long.jsonl", *QUICK).stdout


def test_a_model_is_asked_for_its_options(run, folder: Path):
    rows = [
        {"prompt": "the", "options": ["cat", "dog"], "answer": 0},
        {"prompt": "a", "options": ["cat", "dog"], "answer": 1},
        {"prompt": "the cat", "options": ["sat", "ran"], "answer": 1},
    ]
    document = run("calibrate", "-m", "toy.yaml", "--task", write(folder / "q.jsonl", rows), "--json", *QUICK).json
    assert document["estimates"]["mean_confidence"]["value"] == pytest.approx((0.7 + 0.9 + 0.5) / 3)
    assert document["source"].startswith("toy")


def test_pocket_questions_are_asked_of_a_shipped_model(run):
    document = run("calibrate", "-m", "pocket-nano", "-n", "6", "--json", *QUICK).json
    assert document["items"] == 6
    assert 0.25 <= document["estimates"]["mean_confidence"]["value"] <= 1


def test_one_class_only_leaves_gaps_and_says_nothing_false(run, folder: Path):
    write(folder / "one.jsonl", course([0.9, 0.8, 0.7], [1, 1, 1]))
    document = run("calibrate", "one.jsonl", "--json", *QUICK).json
    assert document["estimates"]["auroc"]["value"] is None
    assert document["estimates"]["macro_ce_wrong"]["value"] is None
    out = run("calibrate", "one.jsonl", *QUICK)
    assert out.code == 0
    assert "nan" not in out.stdout


REFUSED = {
    "percent": ('{"confidence": 80, "correct": 1}', "line 1: confidence must be in [0, 1], got 80; divide percentages"),
    "negative": ('{"confidence": -0.1, "correct": 1}', "line 1: confidence must be in [0, 1], got -0.1"),
    "NaN": ('{"confidence": NaN, "correct": 1}', "line 1: confidence must be a finite number, got nan"),
    "text": ('{"confidence": "high", "correct": 1}', "confidence must be a finite number, got 'high'"),
    "no outcome": ('{"confidence": 0.5}', "correct must be 0, 1, true or false, got nothing"),
    "half right": ('{"confidence": 0.5, "correct": 0.5}', "correct must be 0, 1, true or false, got 0.5"),
    "no confidence": ('{"correct": 1}', "needs one of 'confidence', 'statement'"),
    "two forms": ('{"confidence": 0.5, "statement": "5 %", "correct": 1}', "got 'confidence', 'statement'"),
    "mixed": ('{"confidence": 0.5, "correct": 1}\n{"statement": "5 %", "correct": 1}', "line 2: needs 'confidence'"),
    "not JSON": ("confidence 0.5", "line 1: not JSON"),
    "a list": ("[0.5, 1]", "line 1: needs an object"),
    "nothing": ("\n", "has no answers"),
    "none stated": ('{"statement": "sure", "correct": 1}', "none of the 1 answers"),
    "an id twice": ('{"id": 1, "confidence": 0.5, "correct": 1}\n' * 2, "ids must all differ"),
    "answer outside": ('{"logprobs": [-1, -2], "answer": 2}', "answer must be an option from 0 to 1, got 2"),
    "one option": ('{"logprobs": [-1], "answer": 0}', "at least 2 numbers"),
    "impossible": ('{"logprob": 2.0, "tokens": 1, "correct": 1}', "logprob must be at most 0"),
    "no criteria": ('{"criteria": []}', "criteria must be a list"),
    "verdict": ('{"criteria": [{"verdict": 3, "confidence": 0.5}]}', "correct must be 0, 1"),
    "deep": ("[" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("as_json", [False, True])
def test_bad_answers_are_refused_in_one_line(run, folder: Path, case: str, as_json: bool):
    text, why = REFUSED[case]
    (folder / "bad.jsonl").write_text(text)
    found = run("calibrate", "bad.jsonl", "--diagram", "d.png", *(["--json"] if as_json else []))
    assert (found.code, found.stdout) == (2, "")
    assert why in found.stderr
    assert found.stderr.count("\n") == 1
    assert not (folder / "d.png").exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "needs either FILE or --model"),
        (["ok.jsonl", "-m", "toy.yaml"], "needs either FILE or --model"),
        (["none.jsonl"], "No such file"),
        (["ok.jsonl", "--method", "magic"], "--method must be one of"),
        (["ok.jsonl", "--method", "vector"], "needs logits"),
        (["ok.jsonl", "--bins", "0"], "bins must be an integer, at least 1, got 0"),
        (["ok.jsonl", "--equal", "size"], "equal must be 'width' or 'mass'"),
        (["ok.jsonl", "--level", "95"], "level must be between 0 and 1"),
        (["ok.jsonl", "--resamples", "3"], "at least 100, got 3"),
        (["ok.jsonl", "--validation", "1", "--method", "platt"], "validation must be between 0 and 1"),
        (["ok.jsonl", "--cluster", "topic"], "needs the field 'topic' (--cluster)"),
        (["ok.jsonl", "--diagram", "d.gif"], "must end in one of .png"),
        (["ok.jsonl", "--diagram", "none/d.png"], "there is no directory"),
        (["-m", "toy.yaml", "-n", "0"], "-n must be at least 1"),
        (["-m", "toy.yaml", "--task", "none.jsonl"], "No such file"),
        (["-m", "toy.yaml", "--task", "ok.jsonl"], "needs 'prompt' and 'options'"),
    ],
)
def test_bad_options_are_refused_in_one_line(run, folder: Path, arguments: list[str], why: str):
    write(folder / "ok.jsonl", course([0.9, 0.2, 0.4] * 20, [1, 0, 1] * 20))
    found = run("calibrate", *arguments)
    assert (found.code, found.stdout) == (2, "")
    assert why in found.stderr
    assert "decodelab: " in found.stderr


def test_hostile_names_cannot_drive_the_terminal_or_the_page(run, folder: Path):
    name = "<script>\x1b[31m$x$.jsonl"
    write(folder / name, course([0.9, 0.2], [1, 0]))
    found = run("calibrate", name, "--diagram", "d.html", *QUICK)
    assert found.code == 0
    assert "\x1b[31m" not in found.stdout
    assert "<script>" not in (folder / "d.html").read_text()


def test_real_questions_asked_of_a_real_model(run, folder: Path, data_dir: Path, stories260k_dir: Path):
    import csv

    import decodelab as dl

    with (data_dir / "mmlu_med" / "college_medicine_test.csv").open(newline="") as file:
        _, *lines = csv.reader(file)
    lines = sorted(lines, key=lambda row: sum(map(len, row)))[:5]
    rows = [{"question": q, "choices": options, "answer": int(a)} for q, *options, a in lines]
    document = run(
        "calibrate", "-m", str(stories260k_dir), "--task", write(folder / "q.jsonl", rows), "--json", *QUICK
    ).json
    model = dl.load(str(stories260k_dir))
    found = []
    for row in rows:
        listed = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCD", row["choices"], strict=True))
        prompt = (
            f"The following is a multiple choice question.\n\nQuestion: {row['question']}\nOptions:\n{listed}\nAnswer:"
        )
        p = np.exp([dl.score(model, prompt, f" {letter}").logprob for letter in "ABCD"])
        found.append((p.max() / p.sum(), p.argmax() == row["answer"]))
    confidence, correct = zip(*found, strict=True)
    assert document["estimates"]["mean_confidence"]["value"] == pytest.approx(np.mean(confidence), abs=1e-5)
    assert document["estimates"]["accuracy"]["value"] == np.mean(correct)


def test_a_temperature_at_the_limit_of_its_search_is_noted(run, tmp_path):
    file = tmp_path / "wrong.jsonl"
    file.write_text("".join(f'{{"id": "i{i}", "confidence": 0.9, "correct": 0}}\n' for i in range(60)))
    found = run("calibrate", str(file), "--resamples", "100")
    assert found.code == 0
    assert "the temperature 100 is at the limit of its search (0.01 to 100)" in found.stderr


def test_a_given_temperature_is_applied_to_all_items(run, tmp_path):
    file = tmp_path / "sure.jsonl"
    file.write_text("".join(f'{{"id": "i{i}", "confidence": 0.9, "correct": {i % 2}}}\n' for i in range(60)))
    found = run("calibrate", str(file), "--resamples", "100", "--temperature", "2", "--json")
    after = json.loads(found.stdout)["recalibration"]
    assert (after["parameters"], after["validation_items"], after["test_items"]) == ({"temperature": 2.0}, 0, 60)
    assert after["after"]["estimates"]["ece"]["value"] == pytest.approx(0.25)  # 0.9 becomes 0.75
    for wrong in ("0", "-1", "inf"):
        assert "temperature must be positive and finite" in run("calibrate", str(file), f"--temperature={wrong}").stderr
    both = run("calibrate", str(file), "--temperature", "2", "--method", "platt")
    assert "leave one out" in both.stderr
