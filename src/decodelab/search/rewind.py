"""Sampling that goes back where it wrote a banned phrase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.capabilities import RunnerName
from decodelab.core.errors import InvalidParameter
from decodelab.core.key import ATTEMPT, DRAW
from decodelab.core.protocols import Growth, Ranked, Tree
from decodelab.core.stage import Kind, Stage, brief, check_choice, check_number
from decodelab.kernels.fused import log_normaliser
from decodelab.search._children import growth
from decodelab.search.sample import inverse_cdf

if TYPE_CHECKING:
    from torch import Tensor


_REACH = 128
"""Tokens it can go back: the logits of so many places are kept."""


@dataclass(frozen=True)
class Place:
    """A node of the text, and the token that was drawn after it.

    Attributes:
        node: its number.
        logits: float32 [1, vocab], as processed, without the tokens banned here; None where it lies too far back.
        normaliser: that of the logits before any was banned.
        score: log-probability of the text before it, under the processed distribution, in nats.
        text: the text before it.
        whole: whether that text ends with a whole character.
        token: the token drawn after it; -1 where none is yet.
    """

    node: int
    logits: Tensor | None
    normaliser: float
    score: float
    text: str
    whole: bool
    token: int = -1

    def without(self, token: int) -> Place:
        """The same place, with one more token banned and none drawn."""
        assert self.logits is not None
        return replace(self, logits=self.logits.index_fill(1, torch.tensor([token]), -torch.inf), token=-1)


@dataclass(frozen=True)
class Written:
    """The text so far.

    Attributes:
        places: from the prompt on; the last has no token yet, and its logits come next.
        nodes: how many nodes were asked for.
        draws: how often each position was drawn.
        rewinds: how often the text went back.
        result: the score of the text once it ended.
    """

    places: tuple[Place, ...]
    nodes: int
    draws: tuple[int, ...]
    rewinds: int = 0
    result: float | None = None


@dataclass(frozen=True)
class Rewind(Stage):
    """Sample a text and, whenever it says a banned phrase, go back to where that began and draw another token there.

    Every token is drawn from the processed distribution. When a token completes a phrase in the generated text, the
    text is cut back to the token in which the phrase begins; that token is banned at this place, and another one is
    drawn. If none is left at a place, the token before it is banned in turn. A phrase is found in the text, whatever
    its tokens and wherever they begin or end; `ban` forbids the last token of given spellings only, which leaves their
    beginnings in the text. Nothing is looked for in the prompt. Until the first phrase, the text is that of `sample`.

    The result is not the distribution given that no phrase occurs (`rejection` draws from that), but it differs from
    the model's own only where a phrase began. A text is given up that goes back more than `rewinds` times, or would
    have to go back to a place more than 128 tokens before the furthest it came to.

    antislop-sampler, which this follows, multiplies the probabilities of the phrase's first tokens by a factor instead
    of banning the one that was drawn, and keeps a phrase whose first token remains the most probable one. Both look at
    the text, and both ignore case (here unless told otherwise).

    Raises:
        InvalidParameter: if phrases are not one or more texts, or another parameter is out of its range.
        EmptySupport: if the text was given up.

    >>> import decodelab as dl
    >>> model = dl.TableModel(["a", "b"], {"a": {"b": 1.0}, ...: {"a": 0.9, "b": 0.1}}, eos=None, separator="")
    >>> dl.generate(model, "b", "rewind(phrases=[ab])", max_new_tokens=4)[0].best.text
    'bbba'
    """

    phrases: Annotated[Sequence[str] | str, "banned texts; a single one needs no list"]
    ignore_case: Annotated[bool, "whether upper and lower case are the same"] = True
    rewinds: Annotated[int, "most times to go back, at least 1"] = 1000

    name: ClassVar[str] = "rewind"
    kind: ClassVar[Kind] = "search"
    source: ClassVar[str] = "Paech 2024, antislop-sampler"
    runner: ClassVar[RunnerName] = "tree"
    constrains: ClassVar[bool] = True
    if_empty: ClassVar[str] = "ban fewer phrases, or raise rewinds"
    n: ClassVar[int] = 1
    start_rows: ClassVar[int] = 1
    peak_rows: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Check the parameters."""
        given = self.phrases
        phrases = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Sequence) else ()
        if not phrases or not all(isinstance(phrase, str) and phrase for phrase in phrases):
            raise InvalidParameter(
                f"rewind: phrases must be one or more texts, got {brief(given)}; "
                'write rewind(phrases=["a testament to"])'
            )
        object.__setattr__(self, "phrases", phrases)
        check_choice(self, "ignore_case", (True, False), fix="true finds the phrase in capitals, too")
        check_number(self, "rewinds", low=1, integer=True, fix="use 1000")

    def prefix_budget(self, max_new_tokens: int) -> int:
        """Each time it goes back, the text may have to be written again."""
        return (self.rewinds + 1) * (max_new_tokens - 1)

    def init(self, max_new_tokens: int) -> Written:
        """Nothing written yet."""
        return Written((Place(0, None, 0.0, 0.0, "", True),), 0, (0,) * max_new_tokens)

    def grow(self, logits: Tensor, state: Written, tree: Tree) -> tuple[Growth, Written]:
        """Draw tokens until one neither completes a phrase nor ends the text."""
        places = [
            *state.places[:-1],
            replace(state.places[-1], logits=logits, normaliser=float(log_normaliser(logits))),
        ]
        draws, rewinds, closed = list(state.draws), state.rewinds, list[int]()
        while rewinds <= self.rewinds:
            here, at = places[-1], len(places) - 1
            assert here.logits is not None
            if float(log_normaliser(here.logits)) == -torch.inf:
                closed.append(here.node)
                places.pop()
                if not places or places[-1].logits is None:
                    break
                places[-1] = places[-1].without(places[-1].token)
                rewinds += 1
                continue
            stream = ATTEMPT + draws[at] if draws[at] else DRAW
            token = int(inverse_cdf(here.logits, tree.keys.uniform(torch.tensor([at]), stream)))
            draws[at] += 1
            node, chosen = torch.tensor([here.node]), torch.tensor([token])
            (partial,) = tree.partials(node, chosen)
            begin = self._begin(here.text, partial.text)
            if begin is not None:
                back = self._place(places, begin)
                if places[back].logits is None:
                    break
                closed += [place.node for place in places[back + 1 :]]
                places = [*places[:back], places[back].without(token if back == at else places[back].token)]
                rewinds += 1
                continue
            score = here.score + float(here.logits[0, token]) - here.normaliser
            reason = int(tree.ends(node, chosen))
            if reason:
                closed += [place.node for place in places if place.logits is not None]
                return growth([], [(here.node, token, reason)], closed), replace(state, places=(), result=score)
            places[-1] = replace(here, token=token)
            if at >= _REACH and places[at - _REACH].logits is not None:
                closed.append(places[at - _REACH].node)
                places[at - _REACH] = replace(places[at - _REACH], logits=None)
            after = Place(state.nodes + 1, None, 0.0, score, partial.text, partial.complete)
            written = Written((*places, after), state.nodes + 1, tuple(draws), rewinds)
            return growth([(here.node, token)], [], closed), written
        return growth([], [], closed), replace(state, places=())

    def _begin(self, before: str, text: str) -> int | None:
        """Where the first phrase begins that the text has and the text before had not; None if there is none."""
        longest = max(map(len, self.phrases))
        start = max(0, len(before) - longest + 1)
        new = self._folded(text[start:])
        found = [new.find(self._folded(phrase)) for phrase in self.phrases]
        return min((start + at for at in found if at >= 0), default=None)

    def _folded(self, text: str) -> str:
        """The text in lower case, where case does not matter; as long as it was."""
        if not self.ignore_case:
            return text
        return "".join(low if len(low := character.lower()) == 1 else character for character in text)

    def _place(self, places: Sequence[Place], begin: int) -> int:
        """The place whose token has the character at `begin`, or the first byte of it."""
        at = max(i for i, place in enumerate(places) if len(place.text) <= begin)
        while at and not places[at].whole:
            at -= 1
        return at

    def finished(self, state: Written) -> list[Ranked]:
        """The text, once it ended."""
        return [] if state.result is None else [Ranked(0, state.result, 0)]

    def certificate(self, state: Written) -> None:
        """None: a sample knows nothing of other texts."""
