"""`decodelab strategies`: every stage, its parameters, what it does, where it comes from."""

from decodelab.strategy.catalogue import stages


def test_every_stage_is_listed_with_its_parameters_and_source(run):
    listed = run("strategies")
    assert listed.code == 0
    text = " ".join(listed.stdout.split())
    for stage in stages():
        assert f" {stage.name}" in text
        assert " ".join(stage.source.split()) in text
        for parameter in stage.parameters():
            assert " ".join(f"{parameter.name}: {parameter.doc}".split()) in text


def test_json_has_defaults_and_documentation(run):
    by_name = {stage["name"]: stage for stage in run("strategies", "--json").json}
    assert set(by_name) == {stage.name for stage in stages()}
    beam = by_name["beam"]
    assert beam["kind"] == "search"
    assert [(p["name"], p["required"], p["default"]) for p in beam["parameters"]][:2] == [
        ("width", True, None),
        ("length_penalty", False, 1.0),
    ]
    assert all(p["doc"] for stage in by_name.values() for p in stage["parameters"])


def test_one_stage_in_full(run):
    found = run("strategies", "top_p")
    assert found.stdout.startswith("top_p=P  (processor)")
    assert "Holtzman" in found.stdout
    assert "transformers" in found.stdout
    assert "The token that crosses p is kept" in run("strategies", "top_p", "--json").json["doc"]


def test_an_unknown_stage_gets_a_suggestion(run):
    found = run("strategies", "topk")
    assert (found.code, found.stdout) == (2, "")
    assert "did you mean 'top_k'?" in found.stderr


def test_stages_are_listed_by_what_they_need(run):
    text = {stage["name"] for stage in run("strategies", "--needs", "text", "--json").json}
    assert {"sample", "greedy", "temperature", "top_p", "vote", "weighted_vote", "best_of"} <= text
    assert {s["name"] for s in run("strategies", "--needs", "hidden-states", "--json").json} >= {"contrastive_search"}
    every = {stage["name"]: stage["needs"] for stage in run("strategies", "--json").json}
    assert every["mirostat"] == "logits"
    refused = run("strategies", "--needs", "txt")
    assert (refused.code, refused.stdout) == (2, "")
    assert "unknown need 'txt'; did you mean 'text'?" in refused.stderr
