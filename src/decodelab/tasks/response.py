"""What a model wrote to an item, and why no answer was read from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from decodelab.core.thoughts import ends_in_thought, opens_thought, without_thoughts

Lack = Literal["empty", "unfinished thought", "cut off", "unreadable", "ambiguous"]
LACKS: tuple[Lack, ...] = get_args(Lack)
"""Why no answer was read: there is no text besides thoughts; a thought goes on to the end; the text has no answer, and
the limit on new tokens ended it; it has none, and ended by itself; it names several."""


@dataclass(frozen=True)
class Response:
    """What a model wrote to an item.

    Attributes:
        text: all of it, thoughts included.
        cut: whether the limit on new tokens ended it.
        prompt: what the model was given, a chat as its template renders it; empty where it is not known.
    """

    text: str
    cut: bool = False
    prompt: str = ""

    @cached_property
    def answer(self) -> str:
        r"""The text without its thoughts.

        A thought that the prompt opens, and the limit cuts, has no answer after it. One that ends by itself may have
        been closed by a special token, which texts leave out: then all of it is the answer.

        >>> Response("Is it 4? Or", cut=True, prompt="2 + 2?\n<think>\n").answer, Response("4", prompt="<think>").answer
        ('', '4')
        """
        return without_thoughts(self.text, begun=self._begun)

    def lack(self, said: Lack | None = None) -> Lack:
        """Why nothing was read from the text; `said` is what its reader says of an answer that there is."""
        if not self.answer.strip():
            return "unfinished thought" if ends_in_thought(self.text, begun=self._begun) else "empty"
        return said or ("cut off" if self.cut else "unreadable")

    @property
    def _begun(self) -> bool:
        return self.cut and opens_thought(self.prompt)
