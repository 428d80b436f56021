"""What every stop must do."""

from __future__ import annotations

from collections.abc import Sequence

from decodelab.core.protocols import Stop, StopState
from decodelab.core.stage import Stage
from decodelab.testing.stage import check_stage, require

PIECES: tuple[tuple[tuple[int, str], ...], ...] = (
    (),
    ((0, "a"), (1, "b"), (0, "a"), (1, "b"), (0, "a"), (1, "b"), (0, "a"), (1, "b")),
    ((2, ""), (3, "One.\n\n"), (4, " 2"), (2, ""), (5, "\u00e9\ufffd"), (6, "3. x")),
    tuple((7, "-") for _ in range(80)),
    ((8, "word " * 400),),
)
"""Texts as tokens, each with the characters that became final with it."""


def check_stop(stop: Stop) -> None:
    """Check that a stop reads texts without changing what it has read, and cuts off only what it held back.

    It reads some texts token by token. Its states must stay as they are when more is read from them, give the same
    again, say characters within the text, and cut a text off no earlier than the state before held it back. It must be
    a proper stage (`check_stage`), if it is one.

    Raises:
        AssertionError: naming the first promise that is broken.

    >>> from decodelab import StopRegex
    >>> check_stop(StopRegex("a+b"))
    """
    if isinstance(stop, Stage):
        check_stage(stop)
    for text in PIECES:
        states: list[StopState] = [stop.begin()]
        seen = [_said(states[0])]
        length = 0
        for token, piece in text:
            length += len(piece)
            states.append(states[-1].read(token, piece))
            seen.append(_said(states[-1]))
            _check_place(stop, states[-2], states[-1], length, length - len(piece))
        again = [stop.begin()]
        for token, piece in text:
            again.append(again[-1].read(token, piece))
            again[-2].read(token + 1, piece[::-1] + "x")
        require(
            [_said(state) for state in again] == seen, stop, "read must give the same again, whatever else was read"
        )
        require([_said(state) for state in states] == seen, stop, "read must give a new state and leave the old one")


def _check_place(stop: Stop, before: StopState, after: StopState, length: int, known: int) -> None:
    """Check what a state says of a text of this length, of which `known` characters came before its last token."""
    require(after.ended or after.kept is None, stop, "kept must be None where the text goes on")
    for place in (after.kept, after.held):
        require(place is None or 0 <= place <= length, stop, "kept and held must be places in the text")
    least = known if before.held is None else before.held
    require(after.kept is None or after.kept >= least, stop, "what is cut off must have been held back")


def _said(state: StopState) -> Sequence[object]:
    """What a state says."""
    return state.ended, state.kept, state.held
