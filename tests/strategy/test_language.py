"""The strategy language: every form says the same, mistakes are named, nothing is dropped in silence."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core import errors
from decodelab.core.stage import Kind, Pipeline, Stage, StatelessProcessor, stage_text, value_text
from decodelab.strategy.catalogue import stage_class, stages
from decodelab.strategy.grammar import parse_stages

probability = st.floats(min_value=0.0, max_value=1.0, exclude_min=True)
processors = st.one_of(
    st.floats(min_value=0.0, max_value=1e6).map(dl.Temperature),
    st.integers(min_value=1, max_value=10**9).map(dl.TopK),
    probability.map(dl.TopP),
    probability.map(dl.MinP),
    probability.map(dl.TypicalP),
)
beams = st.integers(1, 50).flatmap(
    lambda width: st.builds(
        dl.Beam,
        st.just(width),
        st.floats(min_value=-5, max_value=5),
        st.sampled_from([True, False, "never"]),
        st.integers(1, width),
    )
)
searches = st.one_of(st.just(dl.Greedy()), st.integers(1, 1000).map(dl.Sample), beams)
selections = st.one_of(
    st.sampled_from(["logprob", "mean_logprob"]).map(lambda by: dl.BestOf(by)),
    st.sampled_from(["integer", "line", "text"]).map(lambda answer: dl.Vote(answer)),
)


@st.composite
def strategies(draw: st.DrawFn) -> dl.Strategy:
    chain: list[Stage] = [dl.Default()] if draw(st.booleans()) else []
    chain += draw(st.lists(processors, max_size=4))
    chain += draw(st.lists(searches, max_size=1))
    if not chain or draw(st.booleans()):
        chain += [draw(selections)]
    return dl.Strategy(tuple(chain))


class TestRoundTrip:
    @given(strategies())
    def test_text(self, strategy: dl.Strategy) -> None:
        assert dl.parse(str(strategy)) == strategy

    @given(strategies())
    def test_json(self, strategy: dl.Strategy) -> None:
        assert dl.Strategy.from_json(json.dumps(strategy.to_json())) == strategy

    @given(strategies())
    def test_yaml(self, strategy: dl.Strategy) -> None:
        assert dl.Strategy.from_yaml(strategy.to_yaml()) == strategy

    @given(strategies())
    def test_python(self, strategy: dl.Strategy) -> None:
        first, *rest = strategy.stages
        chain: Stage | Pipeline = first
        for stage in rest:
            chain = chain | stage
        assert dl.Strategy.of(chain) == strategy

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
            max_leaves=8,
        )
    )
    def test_any_parameter_value(self, value: object) -> None:
        (spec,) = parse_stages(f"anything(value={value_text(value)})")
        assert spec.arguments == {"value": value}


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("greedy", "greedy"),
        ("temperature=0.8 | top_p=0.9", "temperature=0.8 | top_p=0.9 | sample"),
        ("top_p(p=0.9)", "top_p=0.9 | sample"),
        ("  top_k = 40|sample( n = 2 ) ", "top_k=40 | sample(n=2)"),
        ("beam(width=25, length_penalty=0.6)", "beam(width=25, length_penalty=0.6)"),
        ("beam=3", "beam(width=3)"),
        ("beam(width=3, early_stopping='never')", "beam(width=3, early_stopping=never)"),
        ("temperature=0.7 | sample(n=32) | vote(answer=integer)", "temperature=0.7 | sample(n=32) | vote"),
        ("vote", "sample | vote"),
        ("temperature=1", "temperature=1.0 | sample"),
        ("sample(n=1e2)", "sample(n=100)"),
        ("default", "default"),
    ],
)
def test_written_forms(written: str, means: str) -> None:
    assert str(dl.parse(written)) == means


def test_short_yaml_form() -> None:
    written = yaml.safe_load("[temperature: 0.8, top_p: 0.9, sample: {n: 4}, vote]")
    assert str(dl.Strategy.of(written)) == "temperature=0.8 | top_p=0.9 | sample(n=4) | vote"


BAD = [
    ("topp=0.9", errors.UnknownStage, "did you mean 'top_p'"),
    ("beem(width=3)", errors.UnknownStage, "did you mean 'beam'"),
    ("beam(widht=3)", errors.UnknownParameter, "did you mean 'width'"),
    ("greedy(p=1)", errors.UnknownParameter, "it takes none"),
    ("greedy=3", errors.UnknownParameter, "takes no parameters"),
    ("beam", errors.InvalidParameter, "needs width"),
    ("top_p=1.3", errors.InvalidParameter, "p must be in (0, 1], got 1.3; use 1.0 to keep everything"),
    ("top_p=0", errors.InvalidParameter, "must be in (0, 1]"),
    ("top_p=nan", errors.InvalidParameter, "got nan"),
    ("top_p='0.9'", errors.InvalidParameter, "must be in (0, 1]"),
    ("min_p=-0.1", errors.InvalidParameter, "must be in (0, 1]"),
    ("typical_p=2", errors.InvalidParameter, "must be in (0, 1]"),
    ("top_k=0", errors.InvalidParameter, "at least 1, got 0"),
    ("top_k=-3", errors.InvalidParameter, "at least 1, got -3"),
    ("top_k=2.5", errors.InvalidParameter, "an integer"),
    ("temperature=-1", errors.InvalidParameter, "at least 0, got -1"),
    ("temperature=nan", errors.InvalidParameter, "got nan"),
    ("temperature=inf", errors.InvalidParameter, "got inf"),
    ("temperature=true", errors.InvalidParameter, "got true"),
    ("temperature=none", errors.InvalidParameter, "got none"),
    ("sample(n=0)", errors.InvalidParameter, "at least 1"),
    ("beam(width=3, n=4)", errors.InvalidParameter, "[1, 3], got 4"),
    ("beam(width=0)", errors.InvalidParameter, "at least 1"),
    ("beam(width=3, early_stopping=1)", errors.InvalidParameter, "one of true, false, never, got 1"),
    ("beam(width=3, length_penalty=nan)", errors.InvalidParameter, "finite"),
    ("vote(answer=number)", errors.InvalidParameter, "one of integer, line, text"),
    ("best_of(by=length)", errors.InvalidParameter, "mean_logprob, logprob"),
    ("", errors.StrategySyntaxError, "the name of a stage"),
    ("top_p=0.9 | | greedy", errors.StrategySyntaxError, "at character 13"),
    ("sample(n=2, n=3)", errors.StrategySyntaxError, "only once"),
    ("top_p=", errors.StrategySyntaxError, "a value"),
    ("top_p=0.9 greedy", errors.StrategySyntaxError, "'|' or the end"),
    ("greedy | top_p=0.9", errors.StrategyError, "cannot come after"),
    ("greedy | sample", errors.StrategyError, "cannot come after"),
    ("vote | best_of", errors.StrategyError, "cannot come after"),
    ("top_p=0.9 | default", errors.StrategyError, "cannot come after"),
]


@pytest.mark.parametrize(("text", "error", "says"), BAD, ids=[b[0] or "empty" for b in BAD])
def test_mistakes_get_one_line_that_says_what_to_do(text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error) as caught:
        dl.parse(text)
    message = str(caught.value)
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize("form", [3, None, {}, {"top_p": 0.9, "greedy": None}, [3], [["top_p"]], [], [{1: 2}]])
def test_forms_that_are_no_strategy(form: object) -> None:
    with pytest.raises(errors.StrategyError):
        dl.Strategy.of(form)  # pyright: ignore[reportArgumentType]


@given(st.text(max_size=60) | st.text(alphabet="|=(),[]{}:'\"\\top_pbeam0.9-+e \n\0", max_size=80))
def test_hostile_text_is_refused_or_round_trips(text: str) -> None:
    try:
        strategy = dl.parse(text)
    except errors.StrategyError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 600
    else:
        assert dl.parse(str(strategy)) == strategy


@pytest.mark.parametrize(
    "text", ["top_p=" + "[" * 100_000, "top_k=" + "9" * 100_000, "temperature=" + "9" * 3000, "a" * 1_000_000]
)
def test_huge_text_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(errors.StrategyError) as caught:
        dl.parse(text)
    assert len(str(caught.value)) < 2000


class TestDefault:
    """`default` is what transformers would do with the model's generation_config."""

    @pytest.mark.parametrize(
        ("config", "means"),
        [
            ({}, "greedy"),
            ({"do_sample": False, "temperature": 0.6}, "greedy"),
            # Qwen3: the file says this.
            (
                {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95},
                "temperature=0.6 | top_k=20 | top_p=0.95 | sample",
            ),
            # transformers samples with top_k = 50 unless told otherwise.
            ({"do_sample": True}, "top_k=50 | sample"),
            ({"do_sample": True, "top_k": 0, "min_p": 0.1}, "min_p=0.1 | sample"),
            ({"do_sample": True, "top_k": 0, "typical_p": 0.9, "num_return_sequences": 3}, "typical_p=0.9 | sample(n=3)"),
            ({"num_beams": 4, "length_penalty": 0.6, "early_stopping": True}, "beam(width=4, length_penalty=0.6, early_stopping=true)"),
            ({"repetition_penalty": 1.0, "max_new_tokens": 5, "eos_token_id": [1, 2]}, "greedy"),
        ],
    )
    def test_reads(self, config: dict[str, object], means: str) -> None:
        assert str(dl.Strategy.from_generation_config(config)) == means

    @pytest.mark.parametrize(
        ("config", "names"),
        [
            ({"repetition_penalty": 1.2}, "repetition_penalty"),
            ({"no_repeat_ngram_size": 3}, "no_repeat_ngram_size"),
            ({"num_beams": 4, "num_beam_groups": 2}, "num_beam_groups"),
            ({"num_beams": 4, "do_sample": True}, "num_beams"),
            ({"penalty_alpha": 0.6}, "penalty_alpha"),
            ({"stop_strings": ["x"]}, "stop_strings"),
        ],
    )
    def test_refuses_what_it_cannot_honour_by_name(self, config: dict[str, object], names: str) -> None:
        with pytest.raises(errors.UnsupportedStrategy, match=names):
            dl.Strategy.from_generation_config(config)

    def test_refuses_unknown_keys_with_a_suggestion(self) -> None:
        with pytest.raises(errors.InvalidParameter, match="did you mean 'temperature'"):
            dl.Strategy.from_generation_config({"temprature": 0.5})

    def test_a_search_written_after_it_replaces_its_own(self) -> None:
        model = dl.load("pocket-small")
        assert str(dl.parse("default").resolve(model)) == "temperature=0.7 | top_k=50 | top_p=0.9 | sample"
        assert str(dl.parse("default | sample(n=8) | vote").resolve(model)).endswith("top_p=0.9 | sample(n=8) | vote")
        assert str(dl.parse("default | min_p=0.1").resolve(model)).endswith("top_p=0.9 | min_p=0.1 | sample")


class TestNoEffect:
    @pytest.mark.parametrize(
        ("text", "term"),
        [
            ("top_p=1.0", "top_p"),
            ("typical_p=1.0", "typical_p"),
            ("temperature=1.0", "temperature"),
            ("temperature=0.5 | greedy", "temperature"),
            ("top_p=0.9 | greedy", "top_p"),
            ("sample | vote", "vote"),
            ("greedy | best_of", "best_of"),
        ],
    )
    def test_is_reported(self, text: str, term: str) -> None:
        (note,) = dl.parse(text).no_effects()
        assert note.startswith(term)

    @pytest.mark.parametrize("text", ["typical_p=0.9 | greedy", "top_p=0.9", "sample(n=2) | vote", "beam(width=2)"])
    def test_is_not_cried_over_terms_that_do_something(self, text: str) -> None:
        assert dl.parse(text).no_effects() == []

    def test_generate_warns(self) -> None:
        model = dl.TableModel(["a"], {(): {"a": 1.0}}, bos="<s>", missing="eos")
        with pytest.warns(dl.NoEffectWarning, match="p = 1 keeps every token"):
            dl.generate(model, "", "top_p=1.0")


def test_explain_shows_every_parameter_and_its_source() -> None:
    text = dl.parse("temperature=0.8 | top_p=1.0 | beam(width=4, n=2)").explain()
    for piece in ("temperature = 0.8", "width = 4", "length_penalty = 1.0 (default)", "n = 2 (default 1)", "Holtzman"):
        assert piece in text
    assert "note: top_p=1.0: p = 1 keeps every token" in text


def test_explain_shows_what_default_stands_for() -> None:
    text = dl.parse("default").explain(dl.load("pocket-small"))
    assert text.startswith("temperature=0.7 | top_k=50 | top_p=0.9 | sample\n  (written as: default)")


@pytest.mark.parametrize("cls", stages(), ids=lambda c: c.name)
def test_every_stage_documents_itself(cls: type[Stage]) -> None:
    assert stage_class(cls.name) is cls
    assert cls.source
    assert (cls.__doc__ or "").strip()
    for parameter in cls.parameters():
        assert parameter.doc, f"{cls.name}.{parameter.name} has no line of documentation"


@dataclass(frozen=True)
class Halve(StatelessProcessor):
    """Halve the logits."""

    factor: Annotated[float, "what to multiply by"] = 0.5

    name: ClassVar[str] = "halve"
    kind: ClassVar[Kind] = "processor"
    source: ClassVar[str] = "this test"

    def apply(self, logits, state):  # noqa: ANN001, ANN201
        """Scale."""
        return logits * self.factor


def test_third_parties_add_stages_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint("halve", f"{__name__}:Halve", "decodelab.stages")
    monkeypatch.setattr("decodelab.strategy.catalogue.entry_points", lambda group: [entry])
    monkeypatch.setitem(__import__("sys").modules, __name__, __import__("types").SimpleNamespace(Halve=Halve))
    strategy = dl.parse("halve(factor=0.25) | greedy")
    assert str(strategy) == "halve=0.25 | greedy"
    assert stage_text(Halve()) == "halve"
    assert Halve in stages()
