"""`decodelab trace`: every step of a strategy, as a table, as data and as plots, with numbers that can be checked."""

import io
import json
import math
import re
from pathlib import Path

import pytest

import decodelab as dl
from decodelab.analysis.trace_statistics import Statistics
from decodelab.models.table import TableModel

TOY = ("trace", "the", "-m", "toy.yaml")
STATISTICS = (
    "mean_surprise_bits",
    "median_surprise_bits",
    "std_surprise_bits",
    "mean_token_perplexity",
    "median_token_perplexity",
    "std_token_perplexity",
    "sequence_perplexity",
)


def steps_of(document: dict, trace: int = 0, candidate: int = 0) -> list[dict]:
    return document["traces"][trace]["candidates"][candidate]["steps"]


def bits(*probabilities: float) -> float:
    return -sum(p * math.log2(p) for p in probabilities)


def test_each_step_has_its_rank_surprise_entropy_and_what_each_stage_did(run):
    found = run(*TOY, "-s", "temperature=0.5 | top_k=1", "--json")
    assert (found.code, found.stderr) == (0, "")
    first, second, third = steps_of(found.json)
    assert (first["token_text"], third["token_text"]) == ("cat", "</s>")
    assert (second["kept"], second["processed_surprise_bits"]) == (2, 1.0)  # sat and ran are equally probable
    assert [s["step"] for s in (first, second, third)] == [1, 2, 3]
    assert (first["rank"], first["kept"]) == (1, 1)
    assert first["surprise_bits"] == pytest.approx(-math.log2(0.7))
    assert first["processed_surprise_bits"] == 0.0
    assert first["entropy_bits"] == pytest.approx(bits(0.7, 0.3))
    assert first["processed_entropy_bits"] == 0.0
    assert first["mass_removed"] == pytest.approx(0.3)
    warm, cut = first["stages"]
    assert (warm["name"], cut["name"]) == ("temperature=0.5", "top_k=1")
    sharp = 0.49 / (0.49 + 0.09), 0.09 / (0.49 + 0.09)
    assert (warm["kept"], warm["mass_removed"]) == (2, 0.0)
    assert warm["entropy_bits_before"] == pytest.approx(bits(0.7, 0.3))
    assert warm["entropy_bits"] == cut["entropy_bits_before"] == pytest.approx(bits(*sharp))
    assert (cut["kept"], cut["entropy_bits"]) == (1, 0.0)
    assert cut["mass_removed"] == pytest.approx(sharp[1])


def test_it_generates_what_generate_does_with_the_same_seed(run):
    arguments = ("the", "-m", "toy.yaml", "-s", "top_p=0.95 | sample(n=5)", "--seed", "7", "--json")
    traced = run("trace", *arguments).json["traces"][0]["candidates"]
    generated = run("generate", *arguments).json["generations"][0]["candidates"]
    assert [c["text"] for c in traced] == [c["text"] for c in generated]
    for mine, theirs in zip(traced, generated, strict=True):
        assert [s["token"] for s in mine["steps"]] == theirs["tokens"]
        nats = [-s["surprise_bits"] * math.log(2) for s in mine["steps"]]
        assert nats == pytest.approx(theirs["token_logprobs"], abs=1e-6)
        under_processed = [-s["processed_surprise_bits"] * math.log(2) for s in mine["steps"]]
        assert under_processed == pytest.approx(theirs["processed_logprobs"], abs=1e-6)


def test_of_a_beam_each_hypothesis_has_its_own_steps(run):
    document = run("trace", "-m", "toy.yaml", "-s", "beam(width=4, n=4)", "--json").json
    candidates = document["traces"][0]["candidates"]
    assert len({tuple(s["token"] for s in c["steps"]) for c in candidates}) == len(candidates) == 4
    for candidate in candidates:
        words = [s["token_text"] for s in candidate["steps"]]
        assert " ".join(words[:-1]) == candidate["text"]
        assert [s["step"] for s in candidate["steps"]] == list(range(1, len(words) + 1))
        total = -math.log(2) * sum(s["surprise_bits"] for s in candidate["steps"])
        assert math.exp(total) == pytest.approx(toy_probability(words), abs=1e-6)


def toy_probability(words: list[str]) -> float:
    tree = {"the": 0.6, "a": 0.4, "the cat": 0.7, "the dog": 0.3, "a dog": 0.9, "a cat": 0.1, "the cat sat": 0.5}
    tree |= {"the cat ran": 0.5}
    return math.prod(tree.get(" ".join(words[: i + 1]), 1.0) for i in range(len(words)))


def test_the_table_tells_the_same(run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "140")
    lines = run(*TOY, "-s", "temperature=0.5 | top_k=1").stdout.splitlines()
    heading = next(line for line in lines if line.startswith(" step"))
    assert heading.split()[:6] == ["step", "token", "rank", "bits", "proc.", "H"]
    assert "1:kept" in heading
    row = next(line for line in lines if line.lstrip().startswith("1  'cat'"))
    assert row.split() == ["1", "'cat'", "1", "0.51", "0.00", "0.88", "2", "0%", "0.62", "1", "15.5%", "0.00"]


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_the_table_fits_the_terminal(run, monkeypatch: pytest.MonkeyPatch, columns: int):
    monkeypatch.setenv("COLUMNS", str(columns))
    found = run(*TOY, "-s", "temperature=0.5 | top_k=2 | min_p=0.01 | top_p=0.99", "--logits-at", "1")
    assert found.code == 0
    table = found.stdout.partition("step  token")[2].partition("logits at")[0]
    assert max(len(line) for line in table.splitlines()) <= max(columns, 56)
    assert table.count("top_p=0.99") == (3 if columns < 200 else 0)


def test_long_traces_are_shown_by_their_ends_and_say_so(run, folder: Path):
    (folder / "endless.yaml").write_text("bos: <s>\neos: []\notherwise: {la: 0.5, lo: 0.5}\n")
    arguments = ("trace", "-m", "endless.yaml", "-s", "top_k=1", "--max-new-tokens", "30")
    numbers = re.findall(r"^ +(\d+)  '", run(*arguments, "--show", "6").stdout, re.MULTILINE)
    assert numbers == ["1", "2", "3", "28", "29", "30"]
    assert "24 steps (--show 30 prints them)" in run(*arguments, "--show", "6").stdout
    assert not re.findall(r"^ +(\d+)  '", run(*arguments, "--show", "0").stdout, re.MULTILINE)
    assert len(steps_of(run(*arguments, "--show", "6", "--json").json)) == 30


def test_several_strategies_stand_side_by_side(run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "120")
    found = run(*TOY, "-s", "greedy", "-s", "top_k=1", "-s", "temperature=0.1")
    assert next(line for line in found.stdout.splitlines() if "temperature=0.1" in line and "greedy" in line)
    document = run(*TOY, "-s", "greedy", "-s", "top_k=1", "--json").json
    assert [t["strategy"] for t in document["traces"]] == ["greedy", "top_k=1"]
    assert [t["effective_strategy"] for t in document["traces"]] == ["greedy", "top_k=1 | sample"]


def test_statistics_of_a_token_and_of_the_sequence_are_different_things(run):
    document = run(*TOY, "-s", "temperature=0", "--json").json
    found = document["traces"][0]["statistics"]
    surprises = [-math.log2(0.7), 1.0, 0.0]
    perplexities = [1 / 0.7, 2.0, 1.0]
    mean, mean_perplexity = sum(surprises) / 3, sum(perplexities) / 3
    model = found["under_model"]
    assert model["tokens"] == 3
    assert model["mean_surprise_bits"] == pytest.approx(mean)
    assert model["median_surprise_bits"] == pytest.approx(surprises[0])
    assert model["std_surprise_bits"] == pytest.approx(math.sqrt(sum((s - mean) ** 2 for s in surprises) / 3))
    assert model["mean_token_perplexity"] == pytest.approx(mean_perplexity)
    assert model["median_token_perplexity"] == pytest.approx(1 / 0.7)
    spread = math.sqrt(sum((p - mean_perplexity) ** 2 for p in perplexities) / 3)
    assert model["std_token_perplexity"] == pytest.approx(spread)
    assert model["sequence_perplexity"] == pytest.approx((0.7 * 0.5) ** (-1 / 3))
    assert found["under_processed"]["mean_surprise_bits"] == 0.0
    assert found["under_processed"]["sequence_perplexity"] == 1.0
    assert set(model) == {"tokens", *STATISTICS}


def test_statistics_of_nothing_and_of_the_impossible():
    assert math.isnan(Statistics.of([]).sequence_perplexity)
    assert Statistics.of([math.inf, 1.0]).sequence_perplexity == math.inf
    assert Statistics.of([5000.0, 5000.0]).mean_token_perplexity == math.inf


def test_jsonl_has_a_line_for_each_step_of_each_candidate(run, folder: Path):
    found = run(*TOY, "-s", "sample(n=2)", "-s", "top_k=1", "--jsonl", "steps.jsonl", "--json")
    rows = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    assert {(row.pop("model"), row.pop("prompt_index")) for row in rows} == {("toy", 0)}
    wanted = [
        (trace["strategy"], i, step)
        for trace in found.json["traces"]
        for i, candidate in enumerate(trace["candidates"])
        for step in candidate["steps"]
    ]
    assert [(row.pop("strategy"), row.pop("candidate"), row) for row in rows] == wanted
    assert found.json["files"] == {"jsonl": str((folder / "steps.jsonl").resolve()), "png": None, "html": None}


def test_the_logits_of_chosen_steps(run):
    found = run("trace", "-m", "toy.yaml", "-s", "top_k=1", "--logits-at", "1,2,9", "--json")
    first, second, third, fourth = steps_of(found.json)
    assert (third["logits"], fourth["logits"]) == (None, None)
    assert "the text has only 4 steps; --logits-at 9 has no effect" in found.stderr
    lay = first["logits"]
    assert sum(lay["kept"]) == 1
    assert sum(lay["removed"]) == 1
    assert len(lay["edges"]) == len(lay["kept"]) + 1 == len(lay["removed"]) + 1
    assert lay["cut_off"] == lay["chosen"] == pytest.approx(math.log(0.6), abs=1e-6)
    assert [t["text"] for t in lay["top"][:2]] == ["the", "a"]
    assert [t["p"] for t in lay["top"][:2]] == pytest.approx([0.6, 0.4])
    assert [t["processed_p"] for t in lay["top"][:2]] == [1.0, 0.0]
    assert second["logits"]["chosen"] == pytest.approx(math.log(0.7), abs=1e-6)
    shown = run("trace", "-m", "toy.yaml", "-s", "top_k=1", "--logits-at", "1").stdout
    assert "kept 1 of 2 tokens: those with a logit of at least -0.511" in shown


def test_a_cut_that_is_not_an_upper_part_has_no_cut_off(run):
    found = run(*TOY, "-s", "typical_p=0.2", "--logits-at", "1", "--json")
    lay = steps_of(found.json)[0]["logits"]
    kept = [t["text"] for t in lay["top"] if t["processed_p"] > 0]
    assert (lay["cut_off"] is None) == (kept != ["cat"])


def test_what_the_engine_forbids_before_the_minimum_is_a_stage_of_its_own(run):
    arguments = ("trace", "-m", "toy.yaml", "-s", "top_k=2", "--min-new-tokens", "2")
    (first, *_, last) = steps_of(run(*arguments, "--json").json)
    assert [s["name"] for s in first["stages"]] == ["min_new_tokens of the request", "top_k=2"]
    assert [s["name"] for s in last["stages"]] == ["top_k=2"]
    assert "min_new_tokens of the request: kept" in run(*arguments).stdout


def test_mirostat_shows_its_controller_and_its_error(run, folder: Path):
    (folder / "endless.yaml").write_text("bos: <s>\neos: []\notherwise: {a: 0.5, b: 0.25, c: 0.125, d: 0.125}\n")
    arguments = ("trace", "-m", "endless.yaml", "-s", "mirostat(tau=1.5, eta=0.5)", "--max-new-tokens", "20")
    steps = steps_of(run(*arguments, "--json").json)
    readings = [s["stages"][0]["readings"] for s in steps]
    assert set(readings[0]) == {"k", "s_hat", "mu", "surprise_error"}
    assert readings[0]["mu"] == 3.0
    for step, now, after in zip(steps, readings, readings[1:], strict=False):
        assert now["k"] == step["kept"]
        assert now["surprise_error"] == pytest.approx(step["surprise_bits"] - 1.5)
        assert after["mu"] == pytest.approx(now["mu"] - 0.5 * now["surprise_error"])
    assert "surprise_error" in run(*arguments).stdout


def picture(data: bytes):
    from PIL import Image

    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_the_picture_has_a_column_for_each_strategy(run, folder: Path):
    run(*TOY, "-s", "top_k=1", "--png", "one.png")
    found = run(
        *TOY, *("-s", "top_k=1", "-s", "mirostat", "-s", "sample(n=3)"), "--logits-at", "1", "--png", "many.png"
    )
    assert (found.code, found.stderr.splitlines()[-1]) == (0, "wrote many.png")
    one, many = (picture((folder / name).read_bytes()) for name in ("one.png", "many.png"))
    assert one.format == many.format == "PNG"
    assert many.width > one.width
    assert many.height > one.height
    assert len(set(one.convert("L").tobytes())) > 10, "nothing is drawn"


def test_the_page_needs_nothing_else_and_escapes_what_models_write(run, folder: Path):
    arguments = ("-s", "top_k=2", "-s", "greedy", "--logits-at", "1,2", "--html", "page.html")
    assert run("trace", "-m", "hostile.yaml", *arguments).code == 0
    page = (folder / "page.html").read_text()
    library, draw = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    rest = page.replace(library, "").replace(draw, "")
    assert not re.search(r"""(src|href)\s*=\s*["']?https?:""", rest)
    assert page.count("<script") - library.count("<script") == 2
    assert "default-src 'none'; form-action 'none'" in rest
    assert "showSendToCloud: false" in draw, "plotly offers to upload the plot"
    for hostile in ("<script>alert(1)", "\x1b", "\x00", "\u202e"):
        assert hostile not in rest
        assert hostile not in draw
    assert not re.search("[<>&]", draw)
    assert draw.startswith('Plotly.newPlot("plot-1", {')
    figure = json.loads(draw.removeprefix('Plotly.newPlot("plot-1", {...').rpartition(", config")[0])
    curve = next(t for t in figure["data"] if t.get("mode", "").startswith("lines"))
    assert curve["text"][0] == "step 1: &#x27;&lt;script&gt;alert(1)&lt;/script&gt;&#x27;"


def test_the_page_has_the_statistics(run, folder: Path):
    run(*TOY, "-s", "temperature=0", "--html", "page.html")
    page = (folder / "page.html").read_text()
    assert "perplexity of the sequence" in page
    assert f"{(0.7 * 0.5) ** (-1 / 3):.3f}" in page


def test_hostile_tokens_cannot_drive_the_terminal(run):
    found = run("trace", "-m", "hostile.yaml", "-s", "greedy", "--logits-at", "1,2,3,4")
    assert found.code == 0
    assert not any(ch in found.stdout for ch in "\x1b\x00\u202e")
    assert r"\x1b[31mred" in found.stdout
    assert r"\u202eevil" in found.stdout


def test_dollars_and_foreign_letters_do_not_trouble_the_picture(run, folder: Path):
    (folder / "odd.yaml").write_text("name: $x_{€\nbos: <s>\nmissing: eos\ntree: {$^$: 0.5, 猫: 0.5}\n")
    assert run("trace", "$^$", "-m", "odd.yaml", "-s", "greedy", "--png", "odd.png").code == 0
    assert picture((folder / "odd.png").read_bytes()).width > 0


REFUSED = {
    "no step": (["--logits-at", ""], "--logits-at must be steps of at least 1"),
    "step 0": (["--logits-at", "0,5"], "--logits-at must be steps of at least 1"),
    "a step that is no number": (["--logits-at", "1,x"], "write 1,10,100"),
    "too many steps": (["--logits-at", ",".join(map(str, range(1, 30)))], "at most 20 steps"),
    "negative show": (["--show", "-1"], "--show must be at least 0"),
    "a strategy misspelt": (["-s", "topk=3"], "did you mean 'top_k'?"),
    "the second strategy misspelt": (["-s", "greedy", "-s", "beam(widht=2)"], "did you mean 'width'?"),
    "no directory": (["--png", "none/x.png"], "there is no directory"),
    "a directory": (["--jsonl", "."], "it is a directory"),
    "a file twice": (["--png", "x", "--html", "./x"], "it is given twice"),
    "no tokens": (["--max-new-tokens", "0"], "max_new_tokens must be at least 1"),
    "system without chat": (["--system", "Be brief."], "add --chat"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(run, folder: Path, case: str):
    before = sorted(folder.iterdir())
    arguments, why = REFUSED[case]
    found = run(*TOY, *arguments)
    assert (found.code, found.stdout) == (2, "")
    assert why in found.stderr
    assert found.stderr.count("\n") == 1
    assert sorted(folder.iterdir()) == before


def test_a_chain_that_removes_everything_names_the_stage_and_leaves_old_files_alone(run, folder: Path):
    (folder / "old.jsonl").write_text("mine")
    found = run(*TOY, "-s", "greedy", "-s", "allow=[sat]", "--jsonl", "old.jsonl")
    assert (found.code, found.stdout) == (2, "")
    assert "allow" in found.stderr
    assert (folder / "old.jsonl").read_text() == "mine"


def test_ctrl_c_gives_what_there_is(run, folder: Path, monkeypatch: pytest.MonkeyPatch):
    def distribution(prefix: tuple[str, ...]) -> dict[str, float]:
        if len(prefix) == 3 and "b" in prefix:
            raise KeyboardInterrupt
        return {"</s>": 1.0} if len(prefix) == 4 else {"a": 0.6, "b": 0.4}

    model = TableModel(["a", "b"], distribution, bos="<s>", name="nervous")
    monkeypatch.setattr("decodelab.models.loading.load", lambda *_args, **_options: model)
    arguments = ("trace", "-s", "greedy", "-s", "rank_parity=even", "-s", "top_k=1")
    files = ("--jsonl", "steps.jsonl", "--png", "steps.png", "--html", "steps.html")
    found = run(*arguments, *files)
    assert found.code == 130
    assert "interrupted" in found.stderr
    assert "3 steps, interrupted" in found.stdout
    rows = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    assert [row["strategy"] for row in rows] == ["greedy"] * 5 + ["rank_parity=even"] * 3
    assert "interrupted" in (folder / "steps.html").read_text()
    assert picture((folder / "steps.png").read_bytes()).width > 0
    document = run(*arguments, "--json").json
    assert document["interrupted"] is True
    assert len(document["traces"]) == 2


def test_a_trace_on_a_real_model_agrees_with_distribution(run):
    found = run(
        "trace", "Once upon a time,", "-m", "pocket-nano", "-s", "typical_p=0.8", "--max-new-tokens", "6", "--json"
    )
    document = found.json
    model = dl.load("pocket-nano")
    tokens = tuple(document["prompt_tokens"])
    for step in steps_of(document):
        logits = model.prefill([tokens])[0][0]
        distribution = dl.distribution(logits, "typical_p=0.8", trace=True)
        assert step["stages"][0]["kept"] == distribution.stages[0].kept.item()
        assert step["stages"][0]["mass_removed"] == pytest.approx(distribution.stages[0].mass_removed.item(), abs=1e-4)
        assert 2 ** -step["processed_surprise_bits"] == pytest.approx(
            distribution.probs[step["token"]].item(), rel=1e-3
        )
        assert step["entropy_bits"] == pytest.approx(distribution.stages[0].entropy_bits_before.item(), abs=1e-3)
        assert step["rank"] == 1 + int((logits > logits[step["token"]]).sum())
        tokens = (*tokens, step["token"])


@pytest.mark.parametrize("strategy", ["exact", "astar", "best_first(width=2)", "mcts(simulations=4)"])
def test_searches_that_go_back_to_prefixes_are_traced_to_what_they_return(run, strategy):
    (path,) = run("trace", "", "-m", "toy.yaml", "-s", strategy, "--json").json["traces"][0]["candidates"]
    assert [step["token_text"] for step in path["steps"]] == ["a", "dog", "ran", "</s>"]
    assert [step["step"] for step in path["steps"]] == [1, 2, 3, 4]


RUNS = ("trace", "the", "a dog", "-m", "toy.yaml", "-m", "other.yaml", "-s", "top_k=1", "-s", "mirostat=1")


@pytest.fixture
def other(folder: Path) -> None:
    """A second model, `other.yaml`, that says `sat` first of all and never ends."""
    (folder / "other.yaml").write_text(
        "name: other\nbos: <s>\neos: []\notherwise: {sat: 0.5, the: 0.25, a: 0.125, dog: 0.125}\n"
    )


@pytest.mark.usefixtures("other")
def test_several_prompts_and_models_give_a_result_for_each_run(run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "160")
    found = run(*RUNS, "--max-new-tokens", "6")
    assert found.code == 0
    assert not re.search(r"^ step", found.stdout, re.MULTILINE)
    cells = [line.split() for line in found.stdout.splitlines() if line.strip().startswith(("toy", "other"))]
    assert [(row[0], row[1]) for row in cells] == [(m, p) for m in ("toy", "other") for p in ("0:", "0:", "1:", "1:")]
    document = run(*RUNS, "--max-new-tokens", "6", "--json").json
    assert [(r["model"], r["prompt"], len(r["traces"])) for r in document["runs"]] == [
        (model, prompt, 2) for model in ("toy", "other") for prompt in ("the", "a dog")
    ]
    results = document["results"]
    assert [(r["model"], r["prompt_index"], r["strategy"]) for r in results] == [
        (m, p, s) for m in ("toy", "other") for p in (0, 1) for s in ("top_k=1", "mirostat=1")
    ]
    greedy, mirostat = results[:2]
    assert greedy["cross_entropy_bits"] == pytest.approx((-math.log2(0.7) + 1) / 3)
    assert greedy["perplexity"] == pytest.approx((0.7 * 0.5) ** (-1 / 3))
    assert (greedy["target_bits"], greedy["surprise_bits"], greedy["repetition"]) == (None, None, None)
    errors = [
        s["stages"][0]["readings"]["surprise_error"] for s in document["runs"][0]["traces"][1]["candidates"][0]["steps"]
    ]
    assert mirostat["surprise_error_bits"] == pytest.approx(sum(errors) / len(errors))
    assert mirostat["surprise_bits"] == pytest.approx(mirostat["target_bits"] + mirostat["surprise_error_bits"])


@pytest.mark.usefixtures("other")
def test_steps_of_several_runs_are_printed_if_asked_for(run):
    assert len(re.findall(r"^ step", run(*RUNS, "--max-new-tokens", "3", "--show", "2").stdout, re.MULTILINE)) == 8


@pytest.mark.usefixtures("other")
def test_one_file_has_all_runs(run, folder: Path):
    files = ("--jsonl", "x.jsonl", "--png", "x.png", "--html", "x.html")
    assert run(*RUNS, "--max-new-tokens", "3", *files).code == 0
    rows = [json.loads(line) for line in (folder / "x.jsonl").read_text().splitlines()]
    assert len({(row["model"], row["prompt_index"], row["strategy"]) for row in rows}) == 8
    page = (folder / "x.html").read_text()
    assert re.findall(r'class="plot" id="(plot-\d)"', page) == [f"plot-{i}" for i in (1, 2, 3, 4)]
    assert page.count('Plotly.newPlot("plot-') == 4
    assert re.findall(r"<h2>(\S+, prompt \d)</h2>", page) == [
        "toy, prompt 0",
        "toy, prompt 1",
        "other, prompt 0",
        "other, prompt 1",
    ]
    image = picture((folder / "x.png").read_bytes())
    assert image.width > image.height, "three prompts stand side by side"


@pytest.mark.usefixtures("other")
def test_a_total_length_counts_the_prompt(run):
    arguments = ("trace", "the", "the a the", "-m", "other.yaml", "-s", "greedy", "--total-length", "8", "--json")
    document = run(*arguments).json
    assert [len(r["prompt_tokens"]) + len(r["traces"][0]["candidates"][0]["steps"]) for r in document["runs"]] == [8, 8]
    assert document["total_length"] == 8


def test_a_prompt_that_has_the_total_length_is_refused(run):
    found = run(*TOY, "-s", "greedy", "--total-length", "2")
    assert (found.code, found.stdout) == (2, "")
    assert found.stderr.count("\n") == 1
    assert "--total-length must leave room after the prompt, got 2 where prompt 0 has 2 tokens with toy" in found.stderr


def test_a_search_that_goes_on_from_texts_is_refused(run):
    found = run(*TOY, "-s", "step_beam(width=2, expand=2, scorer=logprob)")
    assert (found.code, found.stdout) == (2, "")
    assert found.stderr.count("\n") == 1
    assert "goes on from texts, not from the rows that drew them; use decodelab tree" in found.stderr
