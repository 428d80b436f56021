"""Speculative decoding: the stage that asks for it; `decodelab.engine.runners.speculative` does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from decodelab.core.capabilities import RunnerName
from decodelab.core.errors import InvalidParameter
from decodelab.core.protocols import LanguageModel
from decodelab.core.stage import Kind, Stage, brief, check_choice, check_number

NGRAM = "ngram"
"""The `draft` that is no model but prompt lookup."""


@dataclass(frozen=True)
class Speculative(Stage):
    """Let a cheap draft model propose the next k tokens and check them all in one forward pass.

    For `greedy` and `sample` after any processors, the result is token for token that of the same strategy without this
    stage (as far as the model's arithmetic does not depend on the number of tokens in a pass), and each row keeps as
    many proposals as are right for it. At every position, the model's own token is drawn as without a draft, from its
    processed distribution and with the random number of that position; the draft model draws its proposal from its own
    distribution after the same processors, with the same number. As long as the two agree, the next position's logits
    are already available. Under `sample(draw=gumbel)` they agree with probability at least (1 - TV) / (1 + TV), where
    TV is the total variation distance of the two distributions (Daliri et al.); rejection sampling (Leviathan et al.,
    Chen et al.) accepts with probability 1 - TV but produces other tokens than the model alone. For the inverse-CDF
    draw there is no such bound; `docs/decisions/0008-speculative.md` has measurements.

    `draft=ngram` is prompt lookup: it proposes the tokens that followed when the last tokens occurred before,
    preferring the longest match of at most `ngram` tokens and then the latest; no draft model is needed.

    `adaptive=true` starts with k and changes each row's number of proposals after each pass: 2 more if all were
    accepted, else 1 less, between 1 and 4 k. This is the heuristic of transformers' assisted generation, which has one
    number for all rows and no upper bound.

    Raises:
        InvalidParameter: if a parameter is out of its range.
        VocabularyMismatch: when it is run, if the draft has a different vocabulary.
        UnsupportedStrategy: when it is run, under a search other than greedy or sample, or a processor whose state
            cannot be joined.

    >>> import decodelab as dl
    >>> str(dl.Strategy.of("greedy | speculative(draft=pocket-nano, k=6)"))
    'greedy | speculative(draft=pocket-nano, k=6)'
    >>> plain, fast = (dl.generate("pocket-small", "2 + 3 =", s, max_new_tokens=8)[0]
    ...     for s in ("greedy", "greedy | speculative(draft=pocket-nano)"))
    >>> plain.best.tokens == fast.best.tokens, fast.cost.forward_passes < plain.cost.forward_passes
    (True, True)
    """

    draft: Annotated[str | LanguageModel, "name of a draft model with the same vocabulary, or ngram for prompt lookup"]
    k: Annotated[int, "proposed tokens per forward pass, at least 1"] = 4
    adaptive: Annotated[bool, "whether to adapt the number of proposals to how many are accepted, starting at k"] = (
        False
    )
    ngram: Annotated[int, "longest match of prompt lookup, in tokens, at least 1"] = 3

    name: ClassVar[str] = "speculative"
    kind: ClassVar[Kind] = "driver"
    names_models: ClassVar[tuple[str, ...]] = ("draft",)
    uses_randomness: ClassVar[bool] = False
    runner: ClassVar[RunnerName] = "speculative"
    source: ClassVar[str] = (
        "Leviathan et al. 2023; Chen et al. 2023; coupled draws: Daliri et al. 2024; prompt lookup: Saxena 2023"
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        if isinstance(self.draft, str):
            named = bool(self.draft.strip())
        else:
            named = isinstance(getattr(self.draft, "name", None), str)
        if not named:
            raise InvalidParameter(
                f"speculative: draft must be a model or the name of one, or ngram, got {brief(self.draft)}; "
                "write speculative(draft=ngram)"
            )
        check_number(self, "k", low=1, high=256, integer=True, fix="4 suits most drafts")
        check_choice(self, "adaptive", (True, False), fix="true adapts the number of proposals to the acceptance rate")
        check_number(self, "ngram", low=1, integer=True, fix="3 suits most texts")

    @property
    def most(self) -> int:
        """The most tokens it ever proposes for a pass."""
        return 4 * self.k if self.adaptive else self.k
