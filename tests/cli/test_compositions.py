"""Models made of models and contrastive search from the command line."""

import pytest

TWIN = """
name: twin
bos: <s>
eos: </s>
vocab: [the, a, cat, dog, sat, ran, </s>, <s>]
otherwise: {the: 0.125, a: 0.125, cat: 0.125, dog: 0.125, sat: 0.125, ran: 0.125, </s>: 0.25}
"""


@pytest.fixture(autouse=True)
def twin(folder):
    """`twin.yaml`, a table with the vocabulary of `toy.yaml`, written out there too."""
    (folder / "twin.yaml").write_text(TWIN)
    toy = (folder / "toy.yaml").read_text()
    (folder / "toy.yaml").write_text(
        toy.replace("bos: <s>", "bos: <s>\nvocab: [the, a, cat, dog, sat, ran, </s>, <s>]", 1)
    )


def test_generate_decodes_a_mixture_and_names_it(run):
    found = run("generate", "", "-m", "toy.yaml", "-s", "mix(models=['twin.yaml']) | greedy", "--json")
    assert found.code == 0, found.stderr
    (generation,) = found.json["generations"]
    assert generation["model"] == 'toy with mix(models=["twin.yaml"])'
    # 0.6 / 2 + 0.125 / 2 = 0.3625 for "the" as the first word
    assert generation["candidates"][0]["tokens"][0] == 0
    assert generation["candidates"][0]["token_logprobs"][0] == pytest.approx(-1.0147, abs=1e-3)


def test_generate_explains_a_composition(run):
    found = run("generate", "", "-m", "toy.yaml", "-s", "guidance=1.5 | greedy", "--explain")
    assert found.code == 0, found.stderr
    assert "1. guidance (model): Push the text towards its prompt" in found.stderr
    assert "scale = 1.5" in found.stderr


def test_compare_puts_compositions_beside_plain_strategies(run):
    asked = [
        "greedy",
        "contrast(amateur='twin.yaml') | greedy",
        "guidance(scale=2, negative_prompt=the) | beam(width=2)",
    ]
    options = [option for strategy in asked for option in ("-s", strategy)]
    found = run("compare", "a", "-m", "toy.yaml", *options, "--no-html", "--json")
    assert found.code == 0, found.stderr
    results = found.json["questions"][0]["results"]
    assert [r["strategy"] for r in results] == asked
    assert results[0]["generation"]["model_digest"] != results[1]["generation"]["model_digest"]


def test_score_scores_under_what_is_made_of_the_model(run):
    plain = run("score", "the", " cat", "-m", "toy.yaml", "--json").json["scores"][0]["token_logprobs"]
    found = run("score", "the", " cat", "-m", "toy.yaml", "-s", "mix(models=['twin.yaml'], weights=[0, 1])", "--json")
    assert found.code == 0, found.stderr
    assert found.json["model"].startswith("toy with mix(")
    assert plain == pytest.approx([-0.3567], abs=1e-3)
    assert found.json["scores"][0]["token_logprobs"] == pytest.approx([-2.0794], abs=1e-3)


def test_strategies_lists_what_makes_models(run):
    found = run("strategies")
    assert "Model stages combine or change models" in found.stdout
    for name in ("contrast", "dola", "guidance", "mix", "contrastive_search"):
        assert found.stdout.count(f"  {name}") >= 1
        assert run("strategies", name).code == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["generate", "the", "-s", "guidance=-1"], "scale must be a finite number, at least 0, got -1"),
        (["generate", "the", "-s", "mix(models=['twin.yaml'], weights=[0.5, 0.6])"], "weights must sum to 1"),
        (["generate", "the", "-s", "contrast(amateur=pocket-nano)"], "pocket-nano has a different vocabulary from toy"),
        (["generate", "the", "-s", "contrast(amateur=pocket-nan)"], "did you mean 'pocket-nano'?"),
        (["generate", "the", "-s", "dola"], "toy does not expose the hidden states of its layers"),
        (["generate", "the", "-s", "contrastive_search"], "needs hidden states, which toy does not expose"),
        (["generate", "the", "-s", "greedy | guidance=2"], "guidance (model) cannot come after greedy (search)"),
        (["compare", "the", "-s", "dola", "--no-html"], "toy does not expose the hidden states of its layers"),
        (["score", "the", " cat", "-s", "top_p=0.9"], "top_p=0.9 (processor) is not a model stage"),
        (["score", "the", " cat", "-s", "guidance(scale=2"], "expected"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, arguments, complaint):
    found = run(*arguments, "-m", "toy.yaml")
    assert found.code == 2
    assert complaint in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
    assert not found.stdout
