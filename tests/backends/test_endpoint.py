"""A server over HTTP: what passes is tried again, what does not is said at once, and nothing it sends does harm."""

import json
import socket
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from decodelab.backends.address import Address
from decodelab.backends.catalogue import chat_model
from decodelab.backends.chat import ChatSettings, Reply
from decodelab.backends.endpoint import LARGEST, TRIES, Endpoint
from decodelab.core.errors import EndpointFailed, PromptTooLong, RequestError
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


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
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
        (400, b'{"error": {"message": "temperature must be 1"}}', "answered 400 .*temperature must be 1"),
        (
            401,
            b"Incorrect API key sk-secret",
            r"answered 401 \(Incorrect .* \*\*\*\); check the key in OPENAI_API_KEY",
        ),
        (403, b"", "answered 403; check the key in OPENAI_API_KEY"),
        (404, b"no such model\n\x1b[31m", "answered 404 .*check the address, the model's name"),
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
        b'{"choices": [{"message": {"content": ["YES"]}}]}',
        b'{"choices": [{"message": {"content": "YES"}}], "usage": {"prompt_tokens": 1' + b"0" * 5000 + b"}}",
        b'{"choices": [{"message": {"content": "\\ud800"}}]}',
        b'{"choices": [{"message": {"content": "\xff"}}]}',
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
    null = b'{"choices": [{"message": {"content": null, "refusal": "no"}}]}'
    found = only(client(serve(lambda body, number: (200, {}, null)).name))
    assert found == Reply("", None, None, found.seconds)


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


def test_a_password_is_neither_taken_nor_repeated():
    with pytest.raises(RequestError, match="OPENAI_API_KEY") as error:
        chat_model("openai:https://me:hunter2@host/v1#m")
    assert "hunter2" not in str(error.value)


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
