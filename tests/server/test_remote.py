"""Strategies on our own server, asked over HTTP: the same answers as in this process."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import decodelab as dl
from decodelab.core.errors import PromptTooLong
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
