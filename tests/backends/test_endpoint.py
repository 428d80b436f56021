"""A server over HTTP: what passes is tried again, what does not is said at once, and nothing it sends does harm."""

import json
import re
import socket
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import quote

import anyio
import httpx2
import pytest

from decodelab.backends.address import Address
from decodelab.backends.catalogue import chat_model
from decodelab.backends.chat import ChatSettings, Reply
from decodelab.backends.client import LARGEST, LOST, TRIES
from decodelab.backends.completion import read_completion, refusal
from decodelab.backends.endpoint import Endpoint
from decodelab.core.errors import EndpointFailed, NoReply, PromptTooLong, RequestError
from decodelab.core.values import Chat

HELLO = Chat.of("Is 2 even?")


@pytest.fixture
def waited():
    """The seconds that clients would have waited."""
    return []


@pytest.fixture
def client(waited):
    """A client that notes how long it would wait, and does not."""

    def make(name, **settings):
        async def sleep(seconds):
            waited.append(seconds)

        return Endpoint(name, ChatSettings(**settings), sleep=sleep)

    return make


def only(endpoint, chat=HELLO):
    """The reply to one conversation."""
    [(number, found)] = endpoint.replies([chat])
    assert number == 0
    return found


def test_a_conversation_is_asked_as_openai_has_it(serve, client, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server = serve(lambda body, number: "YES")
    chat = Chat(({"role": "user", "content": "1?"}, {"role": "assistant", "content": "NO"}, HELLO.messages[0]))
    found = only(client(server.name, max_tokens=5), chat)
    assert (found.text, found.prompt_tokens, found.completion_tokens) == ("YES", 5, 1)
    assert server.asked == [
        {"model": "tiny", "temperature": 0.0, "max_completion_tokens": 5, "messages": [dict(t) for t in chat.messages]}
    ]
    assert server.headers[0]["path"] == "/v1/chat/completions"
    assert server.headers[0]["authorization"] == "Bearer sk-secret"


def test_many_conversations_are_answered_each_with_its_own_reply_and_few_at_once(serve, client):
    under_way, most = [0], [0]

    def answer(body, number):
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        server.closing.wait(0.01)
        under_way[0] -= 1
        return body["messages"][0]["content"][::-1]

    server = serve(answer)
    found = dict(client(server.name, at_once=3).replies([Chat.of(f"question {i}") for i in range(20)]))
    assert {i: reply.text for i, reply in found.items()} == {i: f"question {i}"[::-1] for i in range(20)}
    assert most[0] <= 3


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 501, 502, 503, 504, 520, 524, 529])
def test_a_fault_that_passes_is_tried_again_after_longer_and_longer(serve, client, waited, status):
    server = serve(lambda body, number: "YES" if number == 3 else (status, {}, b"busy"))
    assert only(client(server.name)).text == "YES"
    assert len(server.asked) == 4
    assert [int(seconds) for seconds in waited] == [1, 2, 4]  # and a random part of a second


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        ("7", 7, 7),
        ("999999999999999999999", 300, 300),
        ("0.25", 0.25, 0.25),
        ("inf", 1, 2),
        ("the date in 100 seconds", 60, 100),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("soon", 1, 2),
        ("-5", 1, 2),
        ("", 1, 2),
    ],
)
def test_retry_after_is_obeyed_within_reason(serve, client, waited, said, least, most):
    if said.startswith("the date"):
        said = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    server = serve(lambda body, number: "YES" if number else (429, {"retry-after": said}, b""))
    assert only(client(server.name)).text == "YES"
    assert least <= waited[0] <= most


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            401,
            b"Incorrect API key sk-secret",
            r"answered 401 \(Incorrect .* \*\*\*\); check the key in OPENAI_API_KEY",
        ),
        (403, b"", "answered 403; check the key in OPENAI_API_KEY"),
        (402, b"", "answered 402; its account has no credit left, or is not active; check billing at the provider"),
        (
            402,
            b'{"error": {"message": "Insufficient Balance"}}',
            r"answered 402 \(Insufficient Balance\); its account has no credit left",
        ),
        (
            404,
            b"no such model\n\x1b[31m",
            r"answered 404 \(no such model \\x1b\[31m\); check the address, the model's name",
        ),
        (302, b"", "answered 302"),
    ],
)
def test_a_refusal_is_said_at_once_in_one_line(serve, client, waited, monkeypatch, status, body, message):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server = serve(lambda body_, number: (status, {"location": "http://127.0.0.1:9/"}, body))
    with pytest.raises(EndpointFailed, match=message) as error:
        only(client(server.name))
    assert "\n" not in str(error.value)
    assert "sk-secret" not in str(error.value)
    assert (len(server.asked), waited) == (1, [])


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, {"type": "insufficient_quota", "code": "insufficient_quota", "message": "You exceeded your quota"}),
        (429, {"type": "insufficient_quota", "code": "project_spend_limit_exceeded"}),
        (429, {"type": "insufficient_quota", "code": None}),
        (429, {"type": "requests", "code": "insufficient_quota"}),
        (429, {"type": "billing_not_active"}),
        (429, {"type": "exceeded_current_quota_error", "message": "suspended due to insufficient balance"}),
        (400, {"type": "invalid_request_error", "code": "billing_hard_limit_reached"}),
        (401, {"code": "account_deactivated", "message": "context length"}),
        (403, {"code": "Insufficient_Quota"}),
        (500, {"code": "insufficient_quota"}),
        (200, {"code": "insufficient_quota"}),
    ],
)
def test_an_account_without_credit_is_not_asked_again(serve, client, waited, status, error):
    server = serve(lambda body, number: (status, {"retry-after": "5"}, json.dumps({"error": error}).encode()))
    with pytest.raises(EndpointFailed, match="its account has no credit left, or is not active; check billing"):
        only(client(server.name))
    assert (len(server.asked), waited) == (1, [])


def test_a_rate_that_is_exceeded_passes_whatever_it_says_of_quotas(serve, client, waited):
    error = {
        "code": 429,
        "status": "RESOURCE_EXHAUSTED",
        "message": "You exceeded your current quota: insufficient_quota",
    }
    server = serve(lambda body, number: "YES" if number else (429, {}, json.dumps({"error": error}).encode()))
    assert only(client(server.name)).text == "YES"
    assert len(waited) == 1


@pytest.mark.parametrize("status", [400, 413])
def test_a_conversation_that_is_too_long_fails_alone(serve, client, status):
    def answer(body, number):
        if len(body["messages"][0]["content"]) < 100:
            return "YES"
        return status, {}, b'{"error": {"message": "This model\'s maximum context length is 10 tokens"}}'

    found = dict(client(serve(answer).name).replies([HELLO, Chat.of("long " * 100), HELLO]))
    assert isinstance(found.pop(1), PromptTooLong)
    assert {i: reply.text for i, reply in found.items()} == {0: "YES", 2: "YES"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><script>alert(1)</script>",
        b'{"choices": []}',
        b'{"choices": [{"message": "YES"}]}',
        b'{"choices": {"0": 1}}',
        b'{"choices": [null]}',
        b'{"choices": [{"message": {"content": 7}}]}',
        b'{"choices": [{"message": {"content": [7]}}]}',
        b'[{"choices": []}]',
        b"null",
        b'{"choices":' * 50_000,
        b" " * (LARGEST + 1),
        b'{"choices": [{"message": {"content": "' + b"YES" * 17_000_000 + b'"}}]}',
    ],
    ids=lambda body: f"{body[:40].decode(errors='replace')} of {len(body)}",
)
def test_invalid_responses_are_retried_and_then_given_up(serve, client, waited, body):
    server = serve(lambda body_, number: (200, {}, body))
    with pytest.raises(EndpointFailed, match=f"sent an invalid response: .*, {TRIES} times; check the server") as error:
        only(client(server.name))
    assert (len(server.asked), len(waited)) == (TRIES, TRIES - 1)
    assert len(str(error.value)) < 400
    again = serve(lambda body_, number: "YES" if number else (200, {}, body))
    assert only(client(again.name)).text == "YES"


def test_whatever_a_reply_says_is_text(serve, client):
    said = "YES\0\x1b[31m<script>alert(1)</script>\N{RIGHT-TO-LEFT OVERRIDE}"
    assert only(client(serve(lambda body, number: said).name)).text == said


def test_a_packed_reply_is_not_unpacked(serve, client):
    server = serve(lambda body, number: (200, {"content-encoding": "gzip"}, b"\x1f\x8b" * 100))
    with pytest.raises(EndpointFailed, match="no chat completion"):
        only(client(server.name))
    assert server.headers[0]["accept-encoding"] == "identity"


def test_a_server_that_never_answers_is_given_up(serve, client, waited):
    def answer(body, number):
        server.closing.wait(2)
        return "YES"

    server = serve(answer)
    with pytest.raises(EndpointFailed, match=r"did not reply within 0\.02 s, 6 times"):
        only(client(server.name, timeout=0.02))
    assert len(waited) == TRIES - 1


def test_a_server_that_is_not_there_is_said(client, waited):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(EndpointFailed, match=r"cannot be reached .*6 times"):
        only(client(f"openai:http://127.0.0.1:{port}/v1#tiny"))
    assert len(waited) == TRIES - 1


def test_a_connection_that_breaks_is_made_again(serve, client):
    # Fewer bytes than were promised: the connection ends in the middle of the reply.
    server = serve(
        lambda body, number: "YES" if number else (200, {"content-length": "100", "connection": "close"}, b"")
    )
    assert only(client(server.name)).text == "YES"


def test_what_nobody_waits_for_any_more_is_given_up(serve, client):
    def answer(body, number):
        if number > 0:
            server.closing.wait(60)
        return "YES"

    server = serve(answer)
    with closing(client(server.name, at_once=2).replies([HELLO] * 50)) as replies:
        assert next(replies)[1].text == "YES"
    assert len(server.asked) <= 4


def test_a_refusal_ends_all_conversations(serve, client):
    server = serve(lambda body, number: (401, {}, b""))
    with pytest.raises(EndpointFailed, match="401"):
        list(client(server.name, at_once=1).replies([HELLO] * 20))
    assert len(server.asked) == 1


REFUSALS = [
    (400, b'{"error": {"message": "temperature must be 1"}}', r"answered 400 \(temperature must be 1\)"),
    (400, b'{"error": {"code": "content_filter", "message": "filtered\\n\\u001b[31m"}}', r"\(filtered \\x1b\[31m\)"),
    (403, b'{"error": {"code": "content_policy_violation", "message": "no"}}', r"answered 403 \(no\)"),
    (403, b'{"error": {"message": "no", "metadata": {"flagged_input": "x"}}}', r"answered 403 \(no\)"),
    (422, b'{"detail": [{"loc": ["body"], "msg": "bad turn"}]}', r"answered 422 \(bad turn\)"),
    (418, b"a teapot", r"answered 418 \(a teapot\)"),
    (451, b"", "answered 451$"),
    (200, b'{"error": {"code": 400, "message": "bad"}}', r"answered 400 \(bad\)"),
    (400, b'{"error": {"message": "' + b"x" * 5000 + b'"}}', r"\(x{197}\.\.\.\)"),
    (400, b"\xff" * 5000, "answered 400"),
]


@pytest.mark.parametrize(("status", "body", "why"), REFUSALS)
def test_what_is_refused_of_one_conversation_costs_only_that(serve, client, waited, status, body, why):
    def answer(said, number):
        return (status, {}, body) if said["messages"][0]["content"] == "bad" else "YES"

    server = serve(answer)
    found = dict(client(server.name, at_once=1).replies([Chat.of("bad"), HELLO, Chat.of("bad"), HELLO]))
    assert {i: reply.text for i, reply in found.items() if isinstance(reply, Reply)} == {1: "YES", 3: "YES"}
    for number in (0, 2):
        assert isinstance(found[number], NoReply)
        assert re.search(why, str(found[number]))
        assert str(found[number]).isprintable()
        assert len(str(found[number])) < 300
    assert (len(server.asked), waited) == (4, [])


TOO_LONG = [
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
    "prompt is too long: 208310 tokens > 200000 maximum",
    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000",
    "`inputs` tokens + `max_new_tokens` must be <= 1512. Given: 1400 `inputs` tokens",
    "the request exceeds the available context size. try increasing the context size",
    "Your request exceeded model token limit: 8192",
    "Input is too long for requested model.",
    "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
    "Range of input length should be [1, 6000]",
    "Please reduce the length of the messages or completion.",
    "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
    "too many tokens: total number of tokens in the prompt cannot exceed 4081",
    "The prompt exceeds the limit of 4096 tokens.",
    "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
    "Request Entity Too Large",
]


@pytest.mark.parametrize("status", [400, 413, 422, 500])
@pytest.mark.parametrize("said", TOO_LONG)
def test_servers_say_in_many_words_that_a_conversation_is_too_long(status, said):
    for body in (
        {"error": {"message": said}},
        {"message": said, "object": "error"},
        {"detail": said},
        [{"error": said}],
    ):
        assert refusal(status, json.dumps(body).encode()).kind == "too long"
    assert refusal(status, said.encode()).kind == "too long"


@pytest.mark.parametrize(
    "said",
    [
        "Requested 5000 tokens but the maximum is 4096",
        "The number of tokens in the input exceeds what the model supports",
        "Input text exceeds 8000 characters",
        "Conversation is longer than what the model can read",
        "total length of messages exceeds 10000",
        "context_window_exceeded",
    ],
)
def test_other_words_say_it_where_the_request_is_at_fault(said):
    assert refusal(400, said.encode()).kind == "too long"
    assert refusal(503, b"overloaded: more than 9 messages a second").kind == "transient"


def test_some_statuses_and_codes_say_it_without_words():
    assert refusal(413, b"").kind == "too long"
    assert refusal(422, b"").kind == "too long"
    assert refusal(400, b'{"error": {"code": "context_length_exceeded", "message": "no"}}').kind == "too long"
    assert refusal(429, b'{"error": {"message": "Request too large for gpt-4"}}').kind == "too long"
    assert refusal(429, b'{"error": {"message": "exceeded the limit of 10000 tokens per minute"}}').kind == "transient"
    assert refusal(400, b'{"error": {"message": "max_tokens is too large: 9"}}').kind == "alone"


def test_a_conversation_whose_text_is_quoted_in_a_refusal_does_not_end_the_others():
    assert (
        refusal(400, b'{"error": {"message": "bad: Incorrect API key provided, 401, model_not_found"}}').kind == "alone"
    )
    assert refusal(400, b'{"error": {"code": "invalid_api_key", "message": "no"}}').kind == "fatal"
    assert refusal(400, b'{"error": {"type": "model_not_found"}}').kind == "fatal"


def test_replies_under_way_are_received_before_a_refusal_ends_all(serve, client):
    asked = threading.Barrier(4, timeout=30)
    refused = threading.Event()

    def answer(body, number):
        asked.wait()
        if body["messages"][0]["content"] == "the wrong one":
            refused.set()
            return 401, {}, b""
        refused.wait(30)
        server.closing.wait(0.1)
        return "YES"

    server = serve(answer)
    replies = client(server.name, at_once=4).replies([HELLO, Chat.of("the wrong one"), HELLO, HELLO, *[HELLO] * 20])
    found = {}
    with pytest.raises(EndpointFailed, match="401"):
        found.update((number, reply.text) for number, reply in replies)
    assert found == {0: "YES", 2: "YES", 3: "YES"}
    assert len(server.asked) == 4


def test_a_refusal_that_ends_all_does_not_wait_for_further_tries(serve):
    """A conversation in a long pause between tries is given up, as its server would refuse it, too."""
    paused = threading.Event()

    async def sleep(seconds):
        paused.set()
        await anyio.sleep(3600)

    def answer(body, number):
        if body["messages"][0]["content"] == "busy":
            return 503, {}, b""
        paused.wait(30)
        return 401, {}, b""

    endpoint = Endpoint(serve(answer).name, ChatSettings(), sleep=sleep)
    with pytest.raises(EndpointFailed, match="401"):
        list(endpoint.replies([Chat.of("busy"), HELLO]))


def test_one_conversation_that_breaks_the_server_does_not_end_the_others(serve, client):
    def answer(body, number):
        return (500, {}, b"bug") if body["messages"][0]["content"] == "bad" else "YES"

    found = dict(client(serve(answer).name, at_once=1).replies([Chat.of("bad"), HELLO, Chat.of("bad"), HELLO]))
    assert [type(found[i]) for i in range(4)] == [NoReply, Reply, NoReply, Reply]
    assert re.search(r"answered 500 \(bug\), 6 times$", str(found[0]))


def test_a_server_that_fails_several_conversations_in_a_row_is_lost(serve, client):
    server = serve(lambda body, number: "YES" if number == 0 else (503, {}, b"down"))
    found = []
    with pytest.raises(EndpointFailed, match=r"503 \(down\), 6 times; check the server"):
        found.extend(client(server.name, at_once=1).replies([HELLO] * 20))
    assert [type(reply) for _, reply in found] == [Reply] + [NoReply] * LOST
    assert len(server.asked) == 1 + LOST * TRIES


def completion(message, **more):
    return json.dumps({"choices": [{"message": message}], **more}).encode()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"choices": [{"message": {"content": "YES \\ud800"}}]}', "YES \ufffd"),
        (b'{"choices": [{"message": {"content": "YES \\udc00\\ud83d"}}]}', "YES \ufffd\ufffd"),
        (b'{"choices": [{"message": {"content": "YES \\ud83d\\ude00"}}]}', "YES \U0001f600"),
        (b'{"choices": [{"message": {"content": "YES \xff"}}]}', "YES \ufffd"),
        (b'\xef\xbb\xbf{"choices": [{"message": {"content": "YES"}}]}', "YES"),
        (b'\n\n {"choices": [{"message": {"content": "\\ufeffYES"}}]}\n', "\ufeffYES"),
        (completion({"content": [{"type": "text", "text": "YE"}, {"type": "text", "text": "S"}]}), "YES"),
        (completion({"content": [{"type": "thinking", "thinking": [1]}, {"type": "text", "text": "NO"}]}), "NO"),
        (completion({"content": ["YES"]}), "YES"),
        (completion({"content": {"type": "text", "text": "YES"}}), "YES"),
        (completion({"content": "YES", "reasoning_content": "NO NO", "refusal": None, "tool_calls": []}), "YES"),
        (completion({"content": "YES"}, error=None, id=None), "YES"),
        (b'{"choices": [{"message": {"content": "YES"}, "finish_reason": "stop"}, 7], "x": NaN}', "YES"),
        (b'{"choices": [{"message": {"content": "YES"}, "finish_reason": null}]}', "YES"),
    ],
)
def test_valid_replies_are_not_lost_over_how_they_are_written(serve, client, body, text):
    assert only(client(serve(lambda _, number: (200, {}, body)).name)).text == text


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (None, (None, None)),
        ({}, (None, None)),
        ([], (None, None)),
        ("many", (None, None)),
        ({"prompt_tokens": "7", "completion_tokens": 2.0}, (7, 2)),
        ({"prompt_tokens": None, "completion_tokens": 2}, (None, 2)),
        ({"prompt_tokens": -1, "completion_tokens": 2.5}, (None, None)),
        ({"prompt_tokens": True, "completion_tokens": [1]}, (None, None)),
        ({"prompt_tokens": 10**30, "completion_tokens": float("inf")}, (None, None)),
        ({"prompt_tokens": "1e3", "completion_tokens": float("nan")}, (None, None)),
    ],
)
def test_a_count_that_is_none_costs_no_reply(usage, counted):
    said = read_completion(completion({"content": "YES"}, usage=usage))
    assert (said.text, said.prompt_tokens, said.completion_tokens) == ("YES", *counted)


def test_a_count_of_thousands_of_digits_costs_no_reply():
    body = b'{"choices": [{"message": {"content": "YES"}}], "usage": {"prompt_tokens": 1' + b"0" * 5000 + b"}}"
    assert read_completion(body).text == "YES"


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        ({"message": {"content": "YES, bec"}, "finish_reason": "length"}, "limit of tokens"),
        ({"message": {"content": "YES"}, "finish_reason": "MAX_TOKENS"}, "limit of tokens"),
        ({"message": {"content": "YES"}, "finish_reason": "content_filter"}, "withheld its reply"),
        ({"message": {"content": None, "refusal": "I cannot\x1b"}}, r"refused to reply \(I cannot\\x1b\)"),
        ({"message": {"content": ""}}, "sent an empty reply"),
        ({"message": {"content": " \n"}}, "sent an empty reply"),
        ({"message": {"content": [], "reasoning_content": "YES"}}, "sent an empty reply"),
        ({"message": {}}, "sent an empty reply"),
    ],
)
def test_a_reply_that_is_cut_off_withheld_or_empty_is_none(serve, client, choice, why):
    body = json.dumps({"choices": [choice]}).encode()
    server = serve(lambda said, number: (200, {}, body) if number == 0 else "YES")
    found = dict(client(server.name, at_once=1).replies([HELLO, HELLO]))
    assert isinstance(found[0], NoReply)
    assert re.search(why, str(found[0]))
    assert found[1].text == "YES"


@pytest.mark.parametrize(
    "error", [{"message": "upstream broke"}, "upstream broke", {"code": 502, "message": "upstream broke"}]
)
def test_an_error_in_place_of_a_completion_is_shown_and_tried_again(serve, client, error):
    body = json.dumps({"error": error}).encode()
    with pytest.raises(EndpointFailed, match=r"\(upstream broke\), 6 times"):
        only(client(serve(lambda _, number: (200, {}, body)).name))
    server = serve(lambda _, number: "YES" if number else (200, {}, body))
    assert only(client(server.name)).text == "YES"


KEY = "sk-proj-4f\"9'\\x<Q&Zz81"
ECHOES = [KEY, repr(KEY), json.dumps(KEY), KEY.upper(), KEY[:9], KEY[-9:], KEY[5:14], f"{KEY}{KEY}", quote(KEY)]


@pytest.mark.parametrize("echo", ECHOES)
def test_a_key_that_a_server_repeats_is_neither_kept_nor_shown(serve, client, monkeypatch, echo):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = serve(lambda body, number: f"YES {echo}.")
    found = only(client(server.name)).text
    assert "***" in found
    refusing = serve(lambda body, number: (401, {}, f"not {echo}.".encode()))
    with pytest.raises(EndpointFailed, match=r"answered 401 \(not .?\*\*\*") as error:
        only(client(refusing.name))
    for said in (found, str(error.value)):
        assert not [KEY[i : i + 8] for i in range(len(KEY) - 7) if KEY[i : i + 8].lower() in said.lower()]


@pytest.mark.parametrize("around", ["sk-secret\n", "  sk-secret\r\n", "\tsk-secret"])
def test_white_space_around_a_key_is_no_part_of_it(serve, client, monkeypatch, around):
    monkeypatch.setenv("OPENAI_API_KEY", around)
    server = serve(lambda body, number: "YES")
    assert only(client(server.name)).text == "YES"
    assert server.headers[0]["authorization"] == "Bearer sk-secret"


@pytest.mark.parametrize(
    "key", ["sk-se\ncret", "sk-s\xe9cret", "sk se cret", "sk-secret\x7f", "sk-\ud800ret", "\ufeffsk-secret"]
)
def test_a_key_that_cannot_be_sent_is_refused_at_once_and_not_shown(client, monkeypatch, key):
    monkeypatch.setattr("os.environ", {"OPENAI_API_KEY": key})
    with pytest.raises(RequestError, match=r"^OPENAI_API_KEY is no key: character \d+ of \d+") as error:
        client("openai:http://127.0.0.1:1/v1#m")
    assert "cret" not in str(error.value)
    client("openai:http://10.0.0.1/v1#m")  # which gets no key


def test_a_fault_of_the_transport_is_said_in_our_own_words(client, monkeypatch):
    monkeypatch.setattr("httpx2.AsyncClient.stream", lambda *a, **b: (_ for _ in ()).throw(httpx2.ConnectError("sk-x")))
    with pytest.raises(EndpointFailed, match=r"cannot be reached \(ConnectError\), 6 times"):
        only(client("openai:http://127.0.0.1:9/v1#m"))


@pytest.mark.parametrize("proxy", ["ftp://me:hunter2@host", "http://me:hunter2@[::1"])
def test_a_password_of_a_proxy_is_not_shown(client, monkeypatch, proxy):
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(EndpointFailed, match="correct HTTPS_PROXY") as error:
        only(client("openai:http://10.0.0.1/v1#m"))
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "openai:",
        "openai:http://127.0.0.1:8000/v1",
        "openai:http://127.0.0.1:8000/v1#",
        "openai:ftp://host/v1#m",
        "openai:http://:80/v1#m",
        "openai:http://host:99999/v1#m",
        "openai:http://[::1/v1#m",
        "openai:host:8000#m",
        "http://127.0.0.1:8000/v1#m",
    ],
)
def test_a_name_that_is_no_address_is_refused(name):
    with pytest.raises(RequestError, match=r"write openai:http://HOST:PORT/v1#MODEL"):
        chat_model(name)


@pytest.mark.parametrize(
    "name",
    [
        "openai:https://me:hunter2@host/v1#m",
        "openai:https://me:hunter2@host:99999/v1#m",
        "openai:https://me:hunter2@[::1/v1#m",
        "openai:ftp://me:hunter2@host/v1#m",
        "openai:me:hunter2@host/v1",
        "openai:https://host/v1?key=hunter2#m",
        "openai:https://host/v1#m?key=hunter2",
        "https://me:hunter2@host/v1#m",
        "openapi:https://me:hunter2@host/v1#m",
        "OpenAI:https://me:hunter2@host/v1#m",
    ],
)
def test_a_password_is_neither_taken_nor_repeated(name):
    with pytest.raises(RequestError, match=r"OPENAI_API_KEY|no back end has this address") as error:
        chat_model(name)
    assert "hunter2" not in str(error.value)


def test_an_address_with_the_key_in_it_is_refused(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1")
    with pytest.raises(RequestError, match="has the key of OPENAI_API_KEY in it") as error:
        chat_model("openai:https://gateway/sk-secret-1/v1#m")
    assert "sk-secret-1" not in str(error.value)


def test_the_key_is_not_sent_where_others_can_read_it():
    assert Address.of("openai:https://api.openai.com/v1#m").private
    assert Address.of("openai:http://localhost:1/v1#m").private
    assert Address.of("openai:http://[::1]:1/v1#m").private
    assert not Address.of("openai:http://10.0.0.1:1/v1#m").private


def test_the_key_is_no_part_of_what_is_kept(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    endpoint = chat_model("openai:http://localhost:1/v1/#m", max_tokens=9)
    assert json.loads(endpoint.identity) == ["openai", "http://localhost:1/v1", "m", 0.0, 9]


@pytest.mark.parametrize(
    "settings",
    [{"temperature": -1}, {"temperature": float("nan")}, {"max_tokens": 0}, {"at_once": 0}, {"timeout": 0}],
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(RequestError, match=f"{next(iter(settings))} must be"):
        chat_model("openai:http://localhost:1/v1#m", **settings)
