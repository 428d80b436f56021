"""`decodelab cost`: what strategies will cost, before they are run."""

import pytest


def test_strategies_stand_side_by_side_with_and_without_a_cache(run):
    found = run(
        "cost", "-m", "toy.yaml", "-s", "greedy", "-s", "sample(n=3)", "--prompt-tokens", "2", "--new-tokens", "4"
    )
    assert found.code == 0
    rows = [line.split("  ") for line in found.stdout.splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    # The table has 8 words; of its cache 8 bytes a token, shared by nobody.
    assert ["greedy", "4", "2 + 3", "-", "48 B", "32"] in cells
    assert ["sample(n=3)", "4", "2 + 9", "-", "144 B", "96"] in cells
    assert ["without a cache", "4", "2 + 12", "-", "0 B"] in cells
    assert ["without a cache", "4", "2 + 36", "-", "0 B"] in cells


def test_json_has_every_number(run):
    found = run(
        "cost", "-m", "pocket-nano", "-s", "beam(width=5)", "--prompt-tokens", "100", "--new-tokens", "20", "--json"
    )  # fmt: skip
    (said,) = found.json["predictions"]
    assert (said["strategy"], said["model"], said["prompts"], said["rows"]) == ("beam(width=5)", "pocket-nano", 1, 5)
    assert (said["prompt_tokens"], said["new_tokens"]) == (100, 20)
    assert said["scores"] == 1024 * (1 + 19 * 5)
    cached, uncached = said["cached"], said["uncached"]
    assert (cached["prefill_tokens"], cached["decode_tokens"], cached["forward_passes"]) == (100, 95, 20)
    assert cached["forward_tokens"] == 195
    assert uncached["forward_tokens"] == 100 + 5 * sum(range(101, 120))
    assert 0 < cached["flops"] < uncached["flops"]
    assert cached["cache_bytes"] > uncached["cache_bytes"] == 0


def test_it_is_what_generate_then_counts(run):
    prompt = "Once upon a time, there was a little"
    ran = run(
        "generate", prompt, "-m", "pocket-nano", "-s", "beam(width=4)", "--max-new-tokens", "9",
        "--min-new-tokens", "9", "--json",
    ).json["generations"][0]  # fmt: skip
    length = str(len(ran["prompt_tokens"]))
    (said,) = run(
        "cost", "-m", "pocket-nano", "-s", "beam(width=4)", "--prompt-tokens", length, "--new-tokens", "9", "--json"
    ).json["predictions"]
    for name in ("prefill_tokens", "decode_tokens", "forward_passes"):
        assert said["cached"][name] == ran["cost"][name]
    assert said["cached"]["cache_bytes"] >= ran["cost"]["peak_cache_bytes"]


def test_without_a_strategy_it_is_the_models_own(run):
    (said,) = run("cost", "-m", "toy.yaml", "--prompt-tokens", "2", "--new-tokens", "4", "--json").json["predictions"]
    assert said["strategy"] == "greedy"


def test_many_prompts_share_passes_as_rows_allow(run):
    numbers = ("--prompt-tokens", "2", "--new-tokens", "4", "--prompts", "10", "--max-rows", "6", "--json")
    (said,) = run("cost", "-m", "toy.yaml", "-s", "sample(n=2)", *numbers).json["predictions"]
    # Three prompts at a time: four rounds.
    assert said["cached"]["forward_passes"] == 4 * 4
    assert said["cached"]["forward_tokens"] == 10 * (2 + 2 * 3)


def test_drafts_have_a_column_and_an_acceptance(run):
    arguments = ("cost", "-m", "toy.yaml", "-s", 'greedy | speculative(draft="toy.yaml", k=2)')
    numbers = ("--prompt-tokens", "2", "--new-tokens", "7")
    dear, cheap = (
        run(*arguments, *numbers, "--acceptance", a, "--json").json["predictions"][0]["cached"] for a in ("0", "1")
    )
    # All proposals right: two passes of three tokens each behind the first.
    assert (cheap["forward_passes"], cheap["decode_tokens"]) == (3, 6)
    assert dear["forward_passes"] == 7
    shown = run(*arguments, "-s", "greedy", *numbers).stdout
    heading = next(line for line in shown.splitlines() if "passes" in line)
    assert heading.split() == ["strategy", "passes", "forward", "draft", "operations", "cache", "scores"]


def test_what_the_numbers_leave_out_is_noted(run):
    strategy = "greedy | speculative(draft=ngram, adaptive=true)"
    found = run("cost", "-m", "toy.yaml", "-s", strategy, "--prompt-tokens", "2", "--new-tokens", "4")
    assert "throughout" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-s", "beem(width=3)"), "unknown stage 'beem'; did you mean 'beam'?"),
        (("--prompt-tokens", "0"), "prompt_tokens must be at least 1, got 0"),
        (("--prompt-tokens", "2", "--new-tokens", "0"), "new_tokens must be at least 1, got 0"),
        (("--prompt-tokens", "10", "--new-tokens", "4"), "exceed the context length 12 of toy"),
        (("--prompt-tokens", "many"), "--prompt-tokens"),
        (("-m", "nowhere"), "nowhere"),
        (("--prompt-tokens", "2", "--new-tokens", "4", "-s", "mcts(simulations=3)"), "depends on what it finds"),
        (("--prompt-tokens", "2", "--new-tokens", "4", "--acceptance", "2"), "acceptance must be in [0, 1], got 2.0"),
    ],
)
def test_bad_input_is_one_line_and_code_2(run, arguments: tuple[str, ...], says: str):
    found = run("cost", "-m", "toy.yaml", *arguments)
    assert found.code == 2
    assert says in found.stderr
    assert len(found.stderr.splitlines()) == 1
    assert found.stdout == ""
