"""What every test stands on: no network, one thread, fixed hypothesis settings, real data, a scripted server."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# Before anything imports transformers or torch, and inherited by the commands that tests start.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# One thread: the models here are too small to share out, and pytest-xdist already uses the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import HealthCheck, settings

import decodelab as dl
from decodelab.core.errors import SandboxMissing
from decodelab.core.protocols import LanguageModel
from decodelab.programs.sandbox import sandbox

# No deadline and no complaint about slow inputs: the machine may be busy, and no test here is about time.
settings.register_profile("decodelab", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# CI draws the same examples each time, so that a failure there is the change's own.
settings.register_profile("ci", parent=settings.get_profile("decodelab"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "decodelab")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real models and data sets that nobody here wrote, named by DECODELAB_DATA."""
    named = os.environ.get("DECODELAB_DATA")
    if not named:
        pytest.skip("needs real data: set DECODELAB_DATA to the folder that holds it (see README.md)")
    folder = Path(named).resolve()
    if not folder.is_dir():
        # Asked for and not there is a mistake, never a reason to pass over the tests in silence.
        pytest.fail(f"DECODELAB_DATA names {folder}, which is not a folder; fix or unset it", pytrace=False)
    return folder


@pytest.fixture
def needs_sandbox() -> None:
    """Skip where programs cannot be confined."""
    try:
        sandbox()
    except SandboxMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def stories260k_dir(data_dir: Path) -> Path:
    """A Llama of 260,032 parameters trained on TinyStories, in the form that transformers writes."""
    return data_dir / "models" / "stories260K"


@pytest.fixture(scope="session")
def stories(stories260k_dir: Path) -> LanguageModel:
    """That Llama, loaded."""
    return dl.load(stories260k_dir)


@pytest.fixture(scope="session")
def babyllama_dir(data_dir: Path) -> Path:
    """A Llama of 936 k parameters over 105 characters, with no byte fallback."""
    return data_dir / "models" / "babyllama105"


Answer = str | tuple[int, dict[str, str], bytes]
"""What a scripted server says: the text of a chat completion, or a status, headers and a body."""


class ChatServer(ThreadingHTTPServer):
    """A real HTTP server on this machine that answers each request by a function of its body and its number.

    Attributes:
        asked: the bodies that came, in order.
        headers: their headers, names in lower case.
        closing: set when the test is over, for answers that never come.
    """

    daemon_threads = True

    def __init__(self, answer: Callable[[dict[str, Any], int], Answer]):
        super().__init__(("127.0.0.1", 0), ChatHandler)
        self.answer = answer
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.closing = threading.Event()
        self.lock = threading.Lock()

    @property
    def name(self) -> str:
        """What users call it."""
        return f"openai:http://127.0.0.1:{self.server_address[1]}/v1#tiny"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class ChatHandler(BaseHTTPRequestHandler):
    """One connection of a scripted server."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, ChatServer)
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with server.lock:
            number = len(server.asked)
            server.asked.append(body)
            server.headers.append({name.lower(): value for name, value in self.headers.items()} | {"path": self.path})
        answer = server.answer(body, number)
        if isinstance(answer, str):
            words = sum(len(turn["content"].split()) for turn in body["messages"])
            usage = {"prompt_tokens": words, "completion_tokens": len(answer.split())}
            message = {"role": "assistant", "content": answer}
            answer = 200, {}, json.dumps({"choices": [{"index": 0, "message": message}], "usage": usage}).encode()
        status, headers, data = answer
        self.send_response(status)
        for name, value in ({"content-length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[dict[str, Any], int], Answer]], ChatServer]]:
    """Start a server: `serve(lambda body, number: "YES")`."""
    running: list[ChatServer] = []

    def start(answer: Callable[[dict[str, Any], int], Answer]) -> ChatServer:
        server = ChatServer(answer)
        running.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    yield start
    for server in running:
        server.closing.set()
        server.shutdown()
        server.server_close()
