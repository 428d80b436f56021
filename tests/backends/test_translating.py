"""Strategies as requests: exactly what a server does, or a refusal that says who could do it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodelab.backends.dialects import DIALECTS, LLAMA, VLLM
from decodelab.backends.translating import limited, sampling
from decodelab.core.errors import UnsupportedStrategy
from decodelab.core.values import Limits
from decodelab.strategy.catalogue import STAGES
from decodelab.strategy.strategy import Strategy

SCHEMA = 'json_schema="{\\"type\\": \\"integer\\"}"'


def said(dialect: str, strategy: str) -> dict[str, object]:
    """What a request says beyond what every request of the dialect says."""
    neutral = DIALECTS[dialect].neutral
    found = sampling(DIALECTS[dialect], Strategy.of(strategy))
    return {name: value for name, value in found.items() if neutral.get(name) != value}


@pytest.mark.parametrize(
    ("dialect", "strategy", "request_"),
    [
        ("openai", "temperature=0.7 | top_p=0.9 | sample(n=3)", {"temperature": 0.7, "top_p": 0.9}),
        ("openai", "frequency_penalty=0.5 | logit_bias=[[7, 2.0]]", {"frequency_penalty": 0.5, "logit_bias": {"7": 2}}),
        ("openai", "temperature=0.5 | greedy", {"temperature": 0.0}),
        ("openai", "default", {}),
        ("openai", "default | sample(n=2) | vote", {}),
        (
            "openai",
            f"{SCHEMA} | greedy",
            {
                "temperature": 0.0,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "integer"}, "strict": True},
                },
            },
        ),
        ("vllm", "temperature=0.7 | top_k=5 | top_p=0.9", {"temperature": 0.7, "top_k": 5, "top_p": 0.9}),
        ("vllm", "top_k=5 | temperature=0.7", {"temperature": 0.7, "top_k": 5}),  # they commute
        ("vllm", "regex='a|b'", {"structured_outputs": {"regex": "a|b"}}),
        ("sglang", "temperature=0.7 | top_p=0.9 | min_p=0.1", {"temperature": 0.7, "top_p": 0.9, "min_p": 0.1}),
        (
            "llama",
            "top_p=0.9 | temperature=0.7 | top_k=4",
            {"temperature": 0.7, "top_p": 0.9, "top_k": 4, "samplers": ["top_p", "temperature", "top_k"]},
        ),
        (
            "llama",
            "repetition_penalty(penalty=1.1, window=9) | presence_penalty(penalty=0.2, prompt=true, window=9) | greedy",
            {
                "repeat_penalty": 1.1, "repeat_last_n": 9, "presence_penalty": 0.2, "top_k": 1,
                "samplers": ["penalties", "top_k"],
            },
        ),
    ],
)  # fmt: skip
def test_a_strategy_is_what_a_request_says(dialect, strategy, request_):
    assert said(dialect, strategy) == request_


@given(
    st.lists(
        st.sampled_from(
            ["logit_bias=[[3, 1.5]]", "repetition_penalty=1.3", "frequency_penalty=0.2", "presence_penalty=0.1",
             "temperature=0.6", "min_p=0.05", "top_k=7", "top_p=0.8"]
        ), unique=True, min_size=1,
    )
)  # fmt: skip
def test_what_is_translated_for_vllm_is_read_back_as_the_same_stages(stages):
    """`from_openai` is a second, older reading of vLLM's order."""
    strategy = Strategy.of(" | ".join(stages))
    try:
        request = sampling(VLLM, strategy)
    except UnsupportedStrategy:
        return
    back = [str(s) for s in Strategy.from_openai(request).stages]
    assert sorted(back) == sorted(str(s) for s in strategy.stages)
    commuting = {"frequency_penalty", "presence_penalty"}, {"min_p", "top_k"}, {"temperature", "top_k"}
    for i, one in enumerate(strategy.stages):
        for other in strategy.stages[i + 1 :]:
            if not any({one.name, other.name} <= pair for pair in commuting):
                assert back.index(str(one)) < back.index(str(other))


@given(st.permutations(["top_k=7", "top_p=0.8", "min_p=0.05", "temperature=0.6", "typical_p=0.9", "xtc=0.5"]))
def test_what_is_translated_for_llama_cpp_is_read_back_in_its_order(stages):
    strategy = Strategy.of(" | ".join(stages))
    assert Strategy.from_llama_cpp(sampling(LLAMA, strategy)) == strategy


@pytest.mark.parametrize(
    ("dialect", "strategy", "why"),
    [
        ("openai", "top_p=0.9 | temperature=0.7", "after top_p=0.9 is not the order of .*; use llama:, decodelab:"),
        ("vllm", "top_p=0.9 | min_p=0.1", "after top_p=0.9 is not the order of .*; use sglang:, llama:, ollama:"),
        ("openai", "top_k=5", "openai: top_k=5 cannot be asked for: OpenAI's API takes .*; use vllm:"),
        ("openai", "frequency_penalty(penalty=0.2, prompt=true)", "has prompt=false only; use llama:, decodelab:"),
        ("openai", "logit_bias=[[cat, 1.0]]", "only the server knows the tokens of 'cat'; give token ids"),
        ("openai", "beam(width=3)", "it needs the logits of each step; use decodelab: or a local model"),
        ("openai", "default | top_p=0.9", "default leaves the settings to OpenAI's API"),
        ("vllm", "temperature=0.5 | temperature=0.5", "a request has it once"),
        ("vllm", "stop_regex=a", "it needs the tokens as they are generated"),
        ("vllm", "sample | speculative(draft=ngram)", "it says how a local model computes"),
        ("sglang", "top_k=5 | top_p=0.9", "not beside top_k=5: its samplers differ"),
        ("llama", f"{SCHEMA} | top_k=5", "it applies constraints to the token drawn"),
        ("llama", "frequency_penalty(penalty=0.2, prompt=true) | repetition_penalty=1.1", "penalties is one sampler"),
        ("ollama", "temperature=0.7 | top_p=0.9", "its two engines apply them in different orders; use openai:"),
    ],
)  # fmt: skip
def test_what_is_not_exact_is_refused(dialect, strategy, why):
    with pytest.raises(UnsupportedStrategy, match=why) as error:
        sampling(DIALECTS[dialect], Strategy.of(strategy))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_the_table_names_stages_and_their_parameters(dialect):
    for name, taken in dialect.stages.items():
        known = {parameter.name for parameter in STAGES.load(name).parameters()}
        assert {*taken.fields.values(), *taken.only} <= known
        assert taken.first <= taken.last
    assert all({a, b} <= set(STAGES.entries()) for a, b in dialect.clashes)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_limits_are_sent_or_refused(dialect):
    asked = Limits(max_new_tokens=8, min_new_tokens=2)
    if dialect.min_tokens is None:
        with pytest.raises(UnsupportedStrategy, match=r"has no min_new_tokens; leave it out; use vllm:"):
            limited(dialect, asked, chat=False)
    else:
        assert limited(dialect, asked, chat=False) == {dialect.max_tokens[0]: 8, dialect.min_tokens: 2}


def test_the_page_has_the_table():
    """docs/servers-as-models.md names every stage and parameter of every dialect."""
    page = (Path(__file__).parents[2] / "docs" / "servers-as-models.md").read_text()
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in page.splitlines() if line.startswith("|")}
    for place, dialect in enumerate(DIALECTS.values()):
        assert rows[""][place].strip() == f"`{dialect.name}:`"
        for name, taken in dialect.stages.items():
            told = ", ".join(f"`{parameter}`" for parameter in taken.fields)
            assert rows[f"`{name}`"][place].strip() == ("any" if dialect.whole else told)
