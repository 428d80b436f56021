"""`decodelab compare`: strategies side by side, on the terminal, as JSON and as an HTML file."""

import math
import re
from pathlib import Path

import pytest

from decodelab.models.table import TableModel

TOY = ("compare", "-m", "toy.yaml", "--html", "report.html")


def results(document: dict) -> dict[tuple[str, str, str], dict]:
    """Each result of a document by prompt, model and strategy."""
    return {
        (question["prompt"], result["model"], result["strategy"]): result
        for question in document["questions"]
        for result in question["results"]
    }


def test_each_strategy_with_its_text_and_numbers(run):
    found = run(*TOY, "the", "-s", "greedy", "-s", "beam(width=3)", "-s", "default")
    assert found.code == 0
    lines = found.stdout.splitlines()
    heading = next(line for line in lines if line.startswith("toy "))
    assert heading.split() == ["toy", "log", "p", "ppl", "dist-2", "tokens", "passes", "forward", "end"]
    greedy = next(line for line in lines if line.strip().startswith("greedy")).split()
    assert greedy[1:5] == ["-1.05", "1.42", "1.00", "3"]
    # Three passes over two tokens of the prompt (the first is BOS) and two that follow; EOS is not computed.
    assert greedy[-3:] == ["3", "4", "eos"]
    together = r"toy: \d+ new tokens in .* s, all strategies and prompts together: [\d,]+ tok/s"
    assert any(re.fullmatch(together, line) for line in lines)
    assert lines[lines.index(next(line for line in lines if "beam(width=3)" in line)) + 1].strip() == "cat sat"
    assert lines[-1].startswith("Open report.html in a browser")


def test_json_has_the_exact_numbers(run):
    found = run(*TOY, "the", "-s", "greedy", "-s", "beam(width=3)", "--json")
    assert (found.code, found.stderr) == (0, "")
    by_name = results(found.json)
    greedy = by_name["the", "toy", "greedy"]
    candidate = greedy["generation"]["candidates"][0]
    assert candidate["text"] == " cat sat"
    assert candidate["logprob"] == pytest.approx(math.log(0.7 * 0.5))
    assert candidate["perplexity"] == pytest.approx((0.7 * 0.5) ** (-1 / 3))
    assert candidate["distinct_2"] == 1.0
    assert candidate["finish_reason"] == "eos"
    assert greedy["forward_tokens"] == greedy["generation"]["cost"]["forward_tokens"] == 4
    assert by_name["the", "toy", "beam(width=3)"]["generation"]["cost"]["forward_tokens"] > 4


def test_every_strategy_is_charged_its_prompt_though_they_share_it(run):
    found = run(*TOY, "the", "-s", "greedy", "-s", "sample", "--json").json
    both = [r for q in found["questions"] for r in q["results"]]
    assert sorted(r["generation"]["cost"]["prefill_tokens"] for r in both) == [0, 2]
    assert all(r["forward_tokens"] == 2 + r["generation"]["cost"]["decode_tokens"] for r in both)
    (speed,) = found["speeds"]
    assert speed["model"] == "toy"
    assert speed["new_tokens"] == sum(len(c["tokens"]) for r in both for c in r["generation"]["candidates"])
    assert speed["tokens_per_second"] == pytest.approx(speed["new_tokens"] / speed["seconds"])


def test_several_models_and_prompts(run, folder: Path):
    (folder / "other.yaml").write_text("name: other\nbos: <s>\nmissing: eos\ntree: {the: 0.5, a: 0.5}\n")
    found = run(*TOY, "-m", "other.yaml", "the", "a", "-s", "greedy", "-s", "sample", "--json").json
    assert set(results(found)) == {
        (p, m, s) for p in ("the", "a") for m in ("toy", "other") for s in ("greedy", "sample")
    }
    shown = run(*TOY, "-m", "other.yaml", "the", "a", "-s", "greedy").stdout
    assert "over all prompts" in shown


def test_a_strategy_named_twice_is_run_once(run):
    found = run(*TOY, "-s", "greedy", "-s", "greedy", "--json").json
    assert found["strategies"] == ["greedy"]


def test_samples_are_drawn_by_strategies_that_sample(run):
    found = results(
        run(*TOY, "the", "-s", "greedy", "-s", "top_p=0.9", "-s", "sample(n=2)", "--samples", "3", "--json").json
    )
    counts = {strategy: len(r["generation"]["candidates"]) for (_, _, strategy), r in found.items()}
    assert counts == {"greedy": 1, "top_p=0.9": 3, "sample(n=2)": 2}


def test_strategies_share_their_random_numbers(run):
    found = results(run(*TOY, "the", "-s", "sample(n=20)", "-s", "temperature=1.0001 | sample(n=20)", "--json").json)
    first, second = ([c["text"] for c in r["generation"]["candidates"]] for r in found.values())
    assert first == second


def test_the_report_is_written_where_it_is_asked_for(run, folder: Path):
    assert run("compare", "-m", "toy.yaml", "-s", "greedy", "--no-html").stdout.find("browser") == -1
    assert not list(folder.glob("*.html"))
    run("compare", "-m", "toy.yaml", "-s", "greedy")
    assert [file.name for file in folder.glob("*.html")] == ["decodelab-compare.html"]
    assert run(*TOY, "-s", "greedy", "--json").json["html"] == str((folder / "report.html").resolve())


def test_hostile_text_cannot_drive_the_terminal(run):
    shown = run(*TOY[:1], "-m", "hostile.yaml", "-s", "greedy", "--html", "report.html").stdout
    assert not any(ch in shown for ch in "\x1b\x00\u202e")
    assert r"\x1b[31mred\u202eevilnul\x00" in shown
    assert "[bold]&amp;" in shown


def test_a_long_text_is_cut_in_the_middle_so_that_answers_show(run, folder: Path):
    words = [f"w{i}" for i in range(200)]
    table = "".join(f"  {a}: {{{b}: 1}}\n" for a, b in zip(words, [*words[1:], "</s>"], strict=True))
    (folder / "long.yaml").write_text(f"bos: <s>\ntree: {{w0: 1}}\nafter:\n{table}")
    shown = run("compare", "-m", "long.yaml", "-s", "greedy", "--max-new-tokens", "300", "--no-html").stdout
    assert "    w0 w1 w2" in shown
    assert " … " in shown
    assert "w199\n" in shown
    assert "w100" not in shown


def test_ctrl_c_shows_and_writes_finished_results(run, folder: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[str, ...]] = []

    def distribution(prefix: tuple[str, ...]) -> dict[str, float]:
        seen.append(prefix)
        if len(prefix) == 3 and "b" in prefix:
            raise KeyboardInterrupt
        return {"</s>": 1.0} if prefix == ("a", "a") else {"a": 0.6, "b": 0.4}

    model = TableModel(["a", "b"], distribution, bos="<s>", name="nervous")
    monkeypatch.setattr("decodelab.models.loading.load", lambda *_args, **_options: model)
    arguments = ("compare", "-s", "greedy", "-s", "beam(width=2)", "-s", "top_k=1", "--html", "report.html")
    found = run(*arguments)
    assert found.code == 130
    assert "a a" in found.stdout
    assert "interrupted" in found.stderr
    assert "This comparison was interrupted" in (folder / "report.html").read_text()
    document = run(*arguments, "--json").json
    assert document["interrupted"] is True
    reasons = {
        s: {a["finish_reason"] for a in r["generation"]["candidates"]} for (_, _, s), r in results(document).items()
    }
    assert reasons == {"greedy": {"eos"}, "beam(width=2)": {"eos", "interrupted"}, "top_k=1": {"eos"}}
