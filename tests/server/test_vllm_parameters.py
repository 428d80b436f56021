"""The parameters that vLLM adds to OpenAI's, each with what it does there."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

import decodelab as dl
from decodelab.core.protocols import LanguageModel

SHORT = {"model": "nano", "prompt": "What is 2 + 3?", "max_tokens": 30, "temperature": 0, "return_token_ids": True}
TURNS = [{"role": "user", "content": "What is 2 + 3?"}]


def completion(client: httpx2.Client, **asked: Any) -> dict[str, Any]:
    """The answer to a request."""
    response = client.post("/v1/completions", json=SHORT | asked)
    assert response.status_code == 200, response.text
    return response.json()


def chat(client: httpx2.Client, **asked: Any) -> dict[str, Any]:
    """The answer to a conversation."""
    body = {"model": "nano", "messages": TURNS, "temperature": 0, "max_tokens": 12, "return_token_ids": True}
    response = client.post("/v1/chat/completions", json=body | asked)
    assert response.status_code == 200, response.text
    return response.json()


def test_ignored_eos_is_a_token_like_any_other(client: httpx2.Client, nano: LanguageModel) -> None:
    (plain,), (on,) = (completion(client, ignore_eos=flag)["choices"] for flag in (False, True))
    assert (plain["finish_reason"], on["finish_reason"]) == ("stop", "length")
    assert len(on["token_ids"]) == 30
    assert on["token_ids"][: len(plain["token_ids"])] == plain["token_ids"]
    assert on["text"].startswith(plain["text"])
    eos = nano.vocab.eos_ids[0]
    (stopped,) = completion(client, ignore_eos=True, stop_token_ids=[eos])["choices"]
    assert (stopped["token_ids"], stopped["stop_reason"]) == (plain["token_ids"], eos)


def test_what_stopped_a_text_is_told(client: httpx2.Client) -> None:
    story = {"prompt": "Once upon a time"}
    (plain,) = completion(client, **story, max_tokens=8)["choices"]
    assert plain["stop_reason"] is None
    word = plain["text"].split()[1]
    for stream in (False, True):
        body = SHORT | story | {"stop": [word, word[:2]], "stream": stream}
        assert f'"stop_reason":"{word}"' in client.post("/v1/completions", json=body).text
    token = plain["token_ids"][2]
    assert completion(client, **story, stop_token_ids=[token])["choices"][0]["stop_reason"] == token


def test_log_probabilities_of_the_prompt(client: httpx2.Client, nano: LanguageModel) -> None:
    tokens = nano.vocab.encode(SHORT["prompt"])
    score = dl.score(nano, list(tokens[:1]), list(tokens[1:]))
    (choice,) = completion(client, prompt_logprobs=2, max_tokens=1)["choices"]
    first, *rest = choice["prompt_logprobs"]
    assert first is None
    assert len(rest) == len(tokens) - 1
    for place, token, logprob, rank in zip(rest, tokens[1:], score.token_logprobs, score.ranks, strict=True):
        assert place[str(token)]["logprob"] == pytest.approx(logprob, abs=1e-4)
        assert place[str(token)]["rank"] == rank
        assert place[str(token)]["decoded_token"] == nano.vocab.token_text(token)
        assert len(place) == (2 if rank <= 2 else 3)
        assert {entry["rank"] for entry in place.values()} == {1, 2, rank}
    assert len(chat(client, prompt_logprobs=0)["prompt_logprobs"][1]) == 1


def test_echo_and_prompt_logprobs_have_their_own_numbers_of_tokens(client: httpx2.Client) -> None:
    (choice,) = completion(client, prompt_logprobs=3, logprobs=1, echo=True, max_tokens=1)["choices"]
    (alone,) = completion(client, logprobs=1, echo=True, max_tokens=1)["choices"]
    assert choice["logprobs"]["tokens"] == alone["logprobs"]["tokens"]
    assert [len(top or {}) for top in choice["logprobs"]["top_logprobs"]] == [
        len(top or {}) for top in alone["logprobs"]["top_logprobs"]
    ]


def test_a_prompt_without_special_tokens_and_a_cut_one(client: httpx2.Client, nano: LanguageModel) -> None:
    whole = list(nano.vocab.encode(SHORT["prompt"]))
    assert completion(client, add_special_tokens=False)["decodelab"]["prompt_token_ids"] == [whole[1:]]
    cut = completion(client, truncate_prompt_tokens=4, echo=True)
    assert cut["decodelab"]["prompt_token_ids"] == [whole[-4:]]
    assert cut["choices"][0]["text"].startswith(nano.vocab.decode(whole[-4:]))
    assert completion(client, truncate_prompt_tokens=100)["decodelab"]["prompt_token_ids"] == [whole]


def test_a_message_is_continued(client: httpx2.Client, nano: LanguageModel) -> None:
    turns = [*TURNS, {"role": "assistant", "content": "\n2+3"}]
    answer = chat(client, messages=turns, continue_final_message=True)
    text, _ = nano.vocab.render_chat(dl.Chat(tuple(turns), continue_final_message=True))
    assert text.endswith("<|assistant|>\n2+3")
    (made,) = dl.generate(nano, [answer["decodelab"]["prompt_token_ids"][0]], "greedy", max_new_tokens=12)
    assert answer["choices"][0]["message"]["content"] == made.best.text
    no_turn = chat(client, add_generation_prompt=False)["decodelab"]["prompt_token_ids"]
    turn = chat(client)["decodelab"]["prompt_token_ids"]
    assert no_turn[0] == turn[0][:-1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("json", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}),
        ("regex", "[0-9]{3}"),
        ("choice", ["yes", "no"]),
        ("grammar", 'start: "a" start | "b"'),
    ],
)
def test_the_older_names_of_structured_outputs(client: httpx2.Client, name: str, value: Any) -> None:
    old, new = completion(client, **{f"guided_{name}": value}), completion(client, structured_outputs={name: value})
    assert old["choices"] == new["choices"]


def test_a_choice_may_hold_any_character(client: httpx2.Client) -> None:
    choice = "a\nb\t(c) [d]-\\ \u00e9#~&\U0001f600"
    (found,) = completion(client, structured_outputs={"choice": [choice]}, max_tokens=60)["choices"]
    assert found["text"] == choice


def test_a_prompt_that_was_computed_before_is_told(client: httpx2.Client, nano: LanguageModel) -> None:
    prompt = "The old lighthouse keeper had a secret " * 5
    first, second = (completion(client, prompt=prompt, max_tokens=2)["usage"] for _ in range(2))
    assert first["prompt_tokens_details"]["cached_tokens"] < 20
    assert second["prompt_tokens_details"]["cached_tokens"] >= second["prompt_tokens"] - 2


def test_tokens_of_thoughts_are_counted(client: httpx2.Client, nano: LanguageModel) -> None:
    turns = [*TURNS, {"role": "assistant", "content": "<think>"}]
    usage = chat(client, messages=turns, continue_final_message=True)["usage"]
    assert usage["completion_tokens_details"] == {"reasoning_tokens": usage["completion_tokens"]}
    assert chat(client)["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}
    forced = {"structured_outputs": {"choice": ["<think>a b</think>c"]}}
    answer = chat(client, **forced, max_tokens=40)
    said = answer["choices"][0]["token_ids"]
    thought = [i for i in range(len(said)) if "</think>" not in nano.vocab.decode(said[:i])]
    assert answer["choices"][0]["message"]["reasoning_content"] == "a b"
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": len(thought)}
