"""Random strategies, and a model with any generation config."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.protocols import LanguageModel
from decodelab.core.stage import Stage

fraction = st.floats(0, 1, exclude_min=True)
token = st.integers(0, 2**63 - 1)
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
word = token | texts | st.lists(token, min_size=1, max_size=3)
words = st.lists(word, max_size=4)
processor = st.one_of(
    st.floats(0, 1e30).map(dl.Temperature),
    st.integers(1, 2**63 - 1).map(dl.TopK),
    fraction.map(dl.TopP),
    fraction.map(dl.MinP),
    fraction.map(dl.TypicalP),
    st.builds(
        dl.RepetitionPenalty,
        st.floats(0.1, 1e3),
        st.booleans(),
        st.none() | st.integers(1, 2**63 - 1),
    ),
    words.map(dl.Ban),
    words.map(lambda listed: dl.Dry(sequence_breakers=listed)),
    st.lists(st.tuples(word, st.floats(-1e30, 1e30)), max_size=3).map(dl.LogitBias),
    st.dictionaries(token | texts, st.floats(-100, 100), max_size=3).map(dl.LogitBias),
)
beam = st.integers(1, 10**6).flatmap(
    lambda width: st.builds(
        dl.Beam,
        width=st.just(width),
        length_penalty=st.floats(-1e300, 1e300),
        early_stopping=st.sampled_from([True, False, "never"]),
        n=st.integers(1, width),
    )
)
search = st.just(dl.Greedy()) | st.integers(1, 2**63 - 1).map(dl.Sample) | beam
selection = st.builds(dl.BestOf, by=st.sampled_from(["mean_logprob", "logprob"])) | st.builds(
    dl.Vote, answer=st.sampled_from(["integer", "line", "text"])
)


@st.composite
def lists_of_stages(draw: st.DrawFn) -> list[Stage]:
    """Stages in an order that means something; perhaps without a search."""
    head = [dl.Default()] if draw(st.booleans()) else []
    stages = [*head, *draw(st.lists(processor, max_size=4))]
    stages += [draw(search)] if draw(st.booleans()) else []
    stages += [draw(selection)] if draw(st.booleans()) else []
    return stages or [draw(search)]


@pytest.fixture(scope="session")
def stage_lists() -> st.SearchStrategy[list[Stage]]:
    """Random lists of stages."""
    return lists_of_stages()


@pytest.fixture(scope="session")
def configured() -> Callable[..., LanguageModel]:
    """Make a model of six words with a generation config of its own."""

    def make(**settings: Any) -> LanguageModel:
        row = {"a": 0.3, "b": 0.25, "c": 0.2, "d": 0.15, "e": 0.07, "</s>": 0.03}
        table = dl.TableModel(list("abcde"), {...: row}, bos="<s>")

        class Configured:
            generation_config = settings

            def __getattr__(self, name: str) -> Any:
                return getattr(table, name)

        return Configured()  # pyright: ignore[reportReturnType]

    return make
