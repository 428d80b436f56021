"""Strategies on our own server, asked over HTTP: the same answers as in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from typer.testing import CliRunner, Result

import decodelab as dl
from decodelab.cli.main import app
from decodelab.core.errors import PromptTooLong, UnsupportedStrategy
from decodelab.core.protocols import LanguageModel

PROMPTS = ["Once upon a time,", "What is 27 + 35?"]
STRATEGIES = [
    "greedy",
    "default",
    "temperature=0.8 | top_p=0.9 | sample(n=3)",
    "typical_p=0.9 | xtc=0.5 | sample(n=2)",
    "dry | mirostat(tau=3.0) | sample",
    "beam(width=3)",
    "regex='[a-z ]+' | greedy",
    "temperature=0.7 | sample(n=5) | vote",
    "sample(n=12) | until | vote",
    "sample(n=4) | best_of(by=self_certainty)",
    "step_beam(width=2, expand=2, scorer=logprob, every=sentence)",
    "stop_regex='[.]' | sample",
]


def told(found: Sequence[dl.Generation]) -> list[object]:
    """What generations say, but for numbers whose last digits depend on the batch."""
    texts = [[(c.tokens, c.text, c.finish_reason, c.sample) for c in g.candidates] for g in found]
    return [texts, [(g.prompt, g.prompt_tokens, g.strategy, g.cost.forward_tokens) for g in found]]


def numbers(found: Sequence[dl.Generation]) -> list[float]:
    """These numbers."""
    return [v for g in found for c in g.candidates for v in (*c.token_logprobs, *c.processed_logprobs, c.score)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_our_server_answers_every_strategy_as_this_process_does(address: str, nano: LanguageModel, strategy: str):
    how = {"seed": 7, "max_new_tokens": 16, "stop": ["\n\n"]}
    here, there = (dl.generate(m, PROMPTS, strategy, **how) for m in (nano, f"decodelab:{address}#nano"))
    assert told(there) == told(here)
    assert numbers(there) == pytest.approx(numbers(here), abs=1e-4)
    assert nano.digest[:12] in there[0].model_digest


@pytest.mark.parametrize(
    "strategy",
    ["greedy", "temperature=0.8 | top_p=0.9 | sample(n=3)", "sample(n=5) | best_of", "frequency_penalty=0.4 | greedy"],
)
@pytest.mark.parametrize("scheme", ["openai", "vllm"])
def test_what_is_translated_gives_the_texts_of_this_process(
    address: str, nano: LanguageModel, scheme: str, strategy: str
):
    here, there = (
        dl.generate(m, PROMPTS, strategy, seed=7, max_new_tokens=16) for m in (nano, f"{scheme}:{address}/v1#nano")
    )
    assert [[c.text for c in g.candidates] for g in there] == [[c.text for c in g.candidates] for g in here]


def test_searches_whose_scorers_are_here_run_over_our_server(address: str, nano: LanguageModel):
    def longest(prompt: str, texts: Sequence[str]) -> list[float]:
        return [float(len(text)) for text in texts]

    search = dl.StepBeam(2, 3, longest)
    (first,), (again,) = (
        dl.generate(f"decodelab:{address}#nano", PROMPTS[0], search, seed=3, max_new_tokens=24) for _ in range(2)
    )
    assert told([first]) == told([again])
    assert first.best.text
    assert first.candidates[0].score == len(first.best.text)


def test_a_prompt_that_is_too_long_is_one_line(address: str):
    with pytest.raises(PromptTooLong, match="too long for it: answered 400") as error:
        dl.generate(f"openai:{address}/v1#nano", "word " * 3000, "greedy")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scheme", ["openai", "decodelab"])
def test_texts_are_scored_as_in_this_process(address: str, nano: LanguageModel, scheme: str):
    here = dl.score(nano, PROMPTS[1], "\n27+35=62", alternatives=2)
    there = dl.score(f"{scheme}:{address}/v1#nano", PROMPTS[1], "\n27+35=62", alternatives=2)
    assert there.token_logprobs == pytest.approx(here.token_logprobs, abs=1e-4)
    assert there.token_texts == here.token_texts
    assert there.is_greedy in (None, here.is_greedy)
    if scheme == "decodelab":
        assert (there.tokens, there.ranks) == (here.tokens, here.ranks)
        assert [[a.token for a in place] for place in there.alternatives] == [
            [a.token for a in place] for place in here.alternatives
        ]


def test_a_dialect_that_tells_no_likelihoods_says_so(address: str):
    with pytest.raises(UnsupportedStrategy, match="does not tell the log-probabilities of a text; use openai:, vllm:"):
        dl.score(f"ollama:{address}#nano", "a", "b")


def test_commands_take_servers(address: str):
    name = f"openai:{address}/v1#nano"

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments)

    done = run("generate", PROMPTS[0], "-m", name, "-s", "greedy", "--max-new-tokens", "8", "--explain")
    here = dl.generate("pocket-nano", PROMPTS[0], "greedy", max_new_tokens=8)[0].best.text
    assert (done.exit_code, done.stdout.strip()) == (0, here.strip())
    assert f"POST {address}/v1/completions" in done.stderr
    assert '"temperature": 0.0' in done.stderr
    done = run("compare", PROMPTS[1], "-m", name, "-s", "greedy", "-s", "sample(n=3) | vote", "--no-html", "--json")
    (one, other) = json.loads(done.stdout)["questions"][0]["results"]
    assert one["generation"]["model_digest"].startswith("nano fp_")
    assert one["generation"]["candidates"][0]["logprob"] is None  # nothing asked for it
    assert len(other["generation"]["candidates"]) == 3
    done = run("score", PROMPTS[1], "62", "-m", name, "--json")
    assert json.loads(done.stdout)["scores"][0]["logprob"] < 0
    for command in (("generate", "-s", "beam(width=3)"), ("trace",)):
        done = run(*command, PROMPTS[0], "-m", name)
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
