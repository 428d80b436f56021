"""Utilities by name.

A third party adds one with an entry point in the group `decodelab.utilities` that names a function of hypothesis and
reference, or a class without parameters whose objects are such functions or have the method `read` of
`decodelab.core.protocols.Utility`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from decodelab.core.errors import DecodelabError, UtilityFailed
from decodelab.core.protocols import AnyUtility, Compared, Utility
from decodelab.core.registry import Registry
from decodelab.core.stage import Stage, brief, plain
from decodelab.select.utility import UTILITIES as OURS

if TYPE_CHECKING:
    from numpy.typing import NDArray

UTILITIES: Registry[object] = Registry("utility", "decodelab.utilities", OURS)


def check_utility(stage: Stage, parameter: str) -> None:
    """Refuse a parameter that is not a utility.

    Raises:
        InvalidParameter: if it is neither the name of one, with the nearest suggested, nor something that compares.
    """
    UTILITIES.check_parameter(
        stage,
        parameter,
        accepts=lambda value: isinstance(value, Utility) or callable(value),
        accepted="a function (hypothesis, reference) -> number",
        fix=f"write {stage.name}({parameter}=chrf)",
    )


def find_utility(utility: AnyUtility) -> Utility | Callable[[str, str], float]:
    """The utility that a stage names, or is given.

    Raises:
        StrategyError: if there is none of that name, or the package that provides it cannot be imported.
    """
    return UTILITIES.make(utility) if isinstance(utility, str) else utility


def compared(utility: AnyUtility, texts: Sequence[str]) -> Compared:
    """Different texts as a utility has read them.

    A function is called once for each pair that is asked for.

    Raises:
        StrategyError: as `find_utility`.
        UtilityFailed: while texts are compared, if a function raises or gives no finite number, with the texts; if a
            utility gives other than one finite number for each pair.

    >>> compared("exact", ["a", "b"]).utilities([0, 1], [0]).tolist()
    [[1.0], [0.0]]
    """
    found = find_utility(utility)
    name = str(plain(utility))
    return _Checked(found.read(texts), name) if isinstance(found, Utility) else _Called(found, name, texts)


class _Checked:
    """Texts that a utility has read, whose numbers are checked."""

    def __init__(self, texts: Compared, name: str) -> None:
        self._texts, self._name = texts, name

    def utilities(self, hypotheses: Sequence[int], references: Sequence[int]) -> NDArray[np.float64]:
        found = np.asarray(self._texts.utilities(hypotheses, references), np.float64)
        if found.shape != (len(hypotheses), len(references)) or not np.isfinite(found).all():
            raise UtilityFailed(
                f"utility {self._name} must give finite numbers [{len(hypotheses)} hypotheses, {len(references)} "
                f"references], got shape {list(found.shape)}{'' if np.isfinite(found).all() else ' with others'}; "
                "fix the utility"
            )
        return found


class _Called:
    """Texts that a function compares, two at a time."""

    def __init__(self, function: Callable[[str, str], float], name: str, texts: Sequence[str]) -> None:
        self._function, self._name, self._texts = function, name, texts
        self._known: dict[tuple[int, int], float] = {}

    def utilities(self, hypotheses: Sequence[int], references: Sequence[int]) -> NDArray[np.float64]:
        found = [[self._one(h, r) for r in references] for h in hypotheses]
        return np.array(found, dtype=np.float64).reshape(len(hypotheses), len(references))

    def _one(self, hypothesis: int, reference: int) -> float:
        pair = (hypothesis, reference)
        if pair not in self._known:
            self._known[pair] = self._call(self._texts[hypothesis], self._texts[reference])
        return self._known[pair]

    def _call(self, hypothesis: str, reference: str) -> float:
        of = f"for {brief(hypothesis)} against {brief(reference)}; fix the utility"
        try:
            answer = self._function(hypothesis, reference)
            value = math.nan if isinstance(answer, str | bytes) else float(answer)
        except DecodelabError:
            raise
        except Exception as error:  # whatever other people's code raises
            raised = f"raised {type(error).__name__}: {brief(' '.join(str(error).split()))}"
            raise UtilityFailed(f"utility {self._name} {raised} {of}") from error
        if not math.isfinite(value):
            raise UtilityFailed(f"utility {self._name} must give a finite number, got {brief(answer)} {of}")
        return value
