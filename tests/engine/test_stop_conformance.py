"""`check_stop` passes ours and catches each kind of broken one."""

from typing import Any

import pytest

import decodelab as dl
from decodelab.core.protocols import Stop
from decodelab.stops import STOPS
from decodelab.testing import check_stop

STOPPED: dict[str, list[Any]] = {
    "stop_regex": [dl.StopRegex("b|x"), dl.StopRegex(r"(ab)+\S", cut="after"), dl.StopRegex(r"^a|\n+ \d|(-|w)+ ")],
    "repetition_stop": [dl.RepetitionStop(), dl.RepetitionStop(2, 2, 1), dl.RepetitionStop(1, 9, 30)],
}


@pytest.mark.parametrize("name", STOPS)
def test_ours_pass(name):
    assert STOPPED[name], "a new stop must be tried with parameters of its own"
    for stop in STOPPED[name]:
        check_stop(stop)


class Never:
    """A stop that never stops; the broken ones below each break one thing."""

    ended, kept, held = False, None, None

    def begin(self) -> Any:
        return self

    def read(self, token: int, text: str) -> Any:
        return self


class KeepsWhatGoesOn(Never):
    kept = 0


class CutsBehindTheText(Never):
    ended, kept = True, 10**6


class CutsWhatItLetGo(Never):
    ended, kept = True, 0


class Counts(Never):
    def __init__(self) -> None:
        self.calls = 0

    def read(self, token, text):
        self.calls += 1
        self.ended = self.calls % 2 == 1
        return self


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (KeepsWhatGoesOn(), "kept must be None where the text goes on"),
        (CutsBehindTheText(), "must be places in the text"),
        (CutsWhatItLetGo(), "what is cut off must have been held back"),
        (Counts(), "must give the same again|leave the old one"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_a_broken_stop_is_caught(broken: Stop, rule):
    with pytest.raises(AssertionError, match=rule):
        check_stop(broken)


def test_one_that_never_stops_passes():
    check_stop(Never())
