"""`decodelab tree`: which branches a search kept, dropped and never took, with numbers that can be checked."""

import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import decodelab as dl
from decodelab.analysis.search_tree import TreeRecorder
from decodelab.models.table import TableModel
from decodelab.report.tree.svg import to_html, to_svg

TOY = ("tree", "-m", "toy.yaml")


def by_text(document: dict) -> dict[str, dict]:
    """The nodes of a tree by the text that leads to them."""
    nodes = {node["id"]: node for node in document["tree"]["nodes"]}
    found = {}
    for node in nodes.values():
        text, at = "", node
        while at is not None:
            text, at = at["text"] + text, nodes.get(at["parent"])
        found[text] = node
    return found


def test_every_branch_has_its_fate_and_its_log_probability(run):
    found = run(*TOY, "-s", "beam(width=2, n=1, early_stopping=never)", "--pruned", "2", "--json")
    assert (found.code, found.stderr) == (0, "")
    nodes = by_text(found.json)
    # the 0.6: cat 0.7 (sat, ran 0.5 each), dog 0.3; a 0.4: dog 0.9, cat 0.1
    assert {text: node["fate"] for text, node in nodes.items() if node["step"] < 3} == {
        "the": "ended",
        "a": "returned",
        "the cat": "ended",
        "a dog": "returned",
        "the dog": "pruned",
        "a cat": "pruned",
    }
    assert nodes["a dog ran</s>"]["candidate"] == 1
    assert nodes["the cat sat</s>"]["fate"] == "ended"
    assert nodes["the cat sat</s>"]["candidate"] is None
    assert nodes["the cat"]["logprob"] == pytest.approx(math.log(0.7))
    assert nodes["the cat"]["total"] == pytest.approx(math.log(0.6 * 0.7))
    assert nodes["the dog"]["total"] == pytest.approx(math.log(0.6 * 0.3))


def test_each_step_counts_its_hypotheses_and_continuations(run):
    steps = run(*TOY, "-s", "beam(width=2)", "--json").json["tree"]["steps"]
    assert [(s["step"], s["rows"], s["scored"]) for s in steps[:3]] == [(1, 1, 2), (2, 2, 4), (3, 2, 3)]
    assert (steps[0]["kept"], steps[0]["ended"]) == (2, 0)


def test_candidates_are_those_of_generate(run):
    arguments = ("-m", "toy.yaml", "-s", "sample(n=5)", "--seed", "3", "--max-new-tokens", "4", "--json")
    tree = run("tree", *arguments).json["tree"]
    (generation,) = run("generate", *arguments).json["generations"]
    assert tree["candidates"] == generation["candidates"]
    ends = [node for node in tree["nodes"] if node["candidate"] is not None]
    assert len(ends) == len({tuple(c["tokens"]) for c in generation["candidates"]})


@pytest.mark.parametrize(
    "strategy",
    [
        "greedy",
        "sample(n=3)",
        "beam(width=3, n=3)",
        "diverse_beam(width=4, groups=2)",
        "stochastic_beam(width=3)",
        "smc(particles=4, scorer=logprob)",
        "value_beam(width=2, scorer=entropy)",
        "exact",
        "k_best(n=3)",
        "best_first(width=3)",
        "temperature=0.5 | top_k=2 | beam(width=2)",
    ],
)
def test_the_path_of_every_candidate_of_every_search_is_whole(run, strategy):
    document = run(*TOY, "-s", strategy, "--max-new-tokens", "4", "--json").json
    nodes = {node["id"]: node for node in document["tree"]["nodes"]}
    for place, candidate in enumerate(document["tree"]["candidates"], 1):
        (end,) = [n for n in nodes.values() if n["candidate"] == place] or [None]
        if end is None:  # the same tokens as a better candidate
            assert place > 1
            continue
        assert end["total"] == pytest.approx(candidate["processed_logprob"], abs=1e-6)
        tokens = []
        while end is not None:
            assert end["fate"] == "returned"
            tokens.append(end["token"])
            end = nodes.get(end["parent"])
        assert tokens[::-1] == candidate["tokens"]


def test_no_more_nodes_are_noted_than_allowed_but_the_candidates_are_whole(run):
    document = run(*TOY, "-s", "sample(n=9)", "--nodes", "2", "--pruned", "5", "--json").json["tree"]
    assert document["left_out"] > 0
    assert all(node["fate"] == "returned" for node in document["nodes"][2:])
    assert len([n for n in document["nodes"] if n["candidate"] is not None]) == len(
        {tuple(c["tokens"]) for c in document["candidates"]}
    )


def test_nothing_that_was_not_taken_is_shown_without_pruned(run):
    document = run(*TOY, "-s", "greedy", "--pruned", "0", "--json").json["tree"]
    assert {node["fate"] for node in document["nodes"]} == {"returned"}


def test_the_terminal_shows_the_tree_its_marks_and_its_cost(run):
    found = run(*TOY, "-s", "beam(width=2)")
    assert (found.code, found.stderr) == (0, "")
    assert "● 'a dog ran</s>'  -1.02  #1" in found.stdout
    assert "✗ ' cat'" in found.stdout
    assert re.search(r"all +\d+ +\d+", found.stdout)


def test_the_example_of_the_lecture(run):
    table = str(Path(__file__).parents[2] / "examples" / "beam_misses_best.yaml")
    arguments = ("tree", "-m", table, "--max-new-tokens", "3", "--json", "-s")
    beam = run(*arguments, "beam(width=2, n=2)").json
    nodes = by_text(beam)
    assert nodes["B A"]["fate"] == "pruned"
    assert nodes["A B A"]["candidate"] == 1
    assert beam["tree"]["scored"] == 10  # at most T k M = 12
    (best,) = run(*arguments, "exact").json["tree"]["candidates"]
    assert best["text"] == "B A A"
    assert best["logprob"] - beam["tree"]["candidates"][0]["logprob"] == pytest.approx(math.log(0.228 / 0.1728))


# --- files ----------------------------------------------------------------------------------------


def test_pictures_and_pages_are_whole_and_stand_alone(run, folder):
    found = run(*TOY, "--svg", "t.svg", "--html", "t.html")
    assert found.code == 0
    assert "wrote t.svg" in found.stderr
    picture = ET.fromstring((folder / "t.svg").read_text())
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert "the" in texts
    page = (folder / "t.html").read_text()
    assert "default-src 'none'" in page
    assert "<svg" in page
    for text in (page, (folder / "t.svg").read_text()):
        assert "<script" not in text
        assert not re.search(r"(href|src)=", text)


def test_model_text_is_harmless_everywhere(run, folder):
    found = run("tree", "-m", "hostile.yaml", "-s", "beam(width=2)", "--svg", "t.svg", "--html", "t.html")
    assert found.code == 0
    for text in (found.stdout, (folder / "t.svg").read_text(), (folder / "t.html").read_text()):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\0" not in text
    for name in ("t.svg", "t.html"):
        text = (folder / name).read_text()
        assert "<script" not in text
        assert "onmouseover='x" not in text
    ET.fromstring((folder / "t.svg").read_text())


def test_a_deep_and_narrow_tree_is_drawn_too():
    model = TableModel(["a", "b"], {...: {"a": 0.99, "b": 0.01}}, eos=None, bos="<s>")
    recorder = TreeRecorder(model.vocab)
    (generation,) = dl.generate(model, "", "beam(width=2, n=2)", max_new_tokens=300, observers=[recorder])
    tree = recorder.hypotheses("beam(width=2, n=2)", generation)
    ET.fromstring(to_svg(tree))
    assert "</html>" in to_html(tree)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--pruned", "-1"), "--pruned must be at least 0, got -1"),
        (("--nodes", "0"), "--nodes must be at least 1, got 0"),
        (("-s", "beem(width=2)"), "unknown stage 'beem'; did you mean 'beam'?"),
        (("--svg", "t", "--html", "t"), "it is given twice"),
        (("--svg", "no/such/t.svg"), "there is no directory"),
        (("--max-new-tokens", "0"), "max_new_tokens must be at least 1"),
        (("-m", "no-such-model"), "no-such-model"),
        (("-s", "value_beam(width=2, scorer=path_cost)"), "path_cost: the prompt has no graph"),
    ],
)
def test_bad_input_is_one_line_and_code_2(run, folder, arguments, error):
    found = run(*(TOY[:1] if "-m" in arguments else TOY), *arguments)
    assert found.code == 2
    assert found.stdout == ""
    assert error in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
    assert not list(folder.glob("t*.svg"))
