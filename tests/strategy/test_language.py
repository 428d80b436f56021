"""One strategy in four forms, and each form reads back as the same strategy."""

import json

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import StrategyError
from decodelab.core.stage import Pipeline, value_text
from decodelab.scorers.self_evaluation import SelfEvaluation
from decodelab.strategy.grammar import parse_stages

EXAMPLES = [
    ("greedy", (dl.Greedy(),)),
    ("temperature=0.8 | top_p=0.9", (dl.Temperature(0.8), dl.TopP(0.9), dl.Sample(1))),
    ("top_k=50 | beam(width=25, length_penalty=0.6)", (dl.TopK(50), dl.Beam(25, 0.6))),
    ("temperature=0.7 | sample(n=32) | vote(answer=integer)", (dl.Temperature(0.7), dl.Sample(32), dl.Vote("integer"))),
    ("sample(n=8) | best_of", (dl.Sample(8), dl.BestOf())),
    ("default", (dl.Default(),)),
    ("default | sample(n=8)", (dl.Default(), dl.Sample(8))),
    ("temperature(temperature=0.5)", (dl.Temperature(0.5), dl.Sample())),
    ('beam(width=3, early_stopping="never")', (dl.Beam(3, 1.0, "never"),)),
    ("beam(width=3, early_stopping=true)", (dl.Beam(3, 1.0, True),)),
    ("temperature = .5|top_k=1_000", (dl.Temperature(0.5), dl.TopK(1000), dl.Sample())),
    ("temperature=5e-1", (dl.Temperature(0.5), dl.Sample())),
    ("min_p=0.1 |\n  sample( n = 4 )", (dl.MinP(0.1), dl.Sample(4))),
    ("temperature=0.7 | vote", (dl.Temperature(0.7), dl.Sample(1), dl.Vote())),
    ("sample=4", (dl.Sample(4),)),
    ("sample(n=1e2)", (dl.Sample(100),)),
    ("beam=3", (dl.Beam(3),)),
    ("top_p(p=0.9)", (dl.TopP(0.9), dl.Sample())),
    ("beam(width=3, early_stopping='never')", (dl.Beam(3, 1.0, "never"),)),
    ("vote", (dl.Sample(), dl.Vote())),
]


@pytest.mark.parametrize(("text", "stages"), EXAMPLES, ids=[t for t, _ in EXAMPLES])
def test_the_language_reads_as_the_design_says(text, stages):
    assert dl.Strategy.of(text) == dl.Strategy(stages)
    assert dl.parse(text) == dl.Strategy(stages)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        ("{5: -1.5, 17: 2}", {5: -1.5, 17: 2}),
        ("{' cat': 1, dog: -1, \"a: b\": 0.5}", {" cat": 1, "dog": -1, "a: b": 0.5}),
        ("{5: [1, {x: 2}], '5': none}", {5: [1, {"x": 2}], "5": None}),
        ("[[[1, 2], 0.5], [a, -1]]", [[[1, 2], 0.5], ["a", -1]]),
    ],
)
def test_values_may_be_lists_and_maps_whose_keys_are_numbers_or_texts(text, value):
    (stage,) = parse_stages(f"anything={text}")
    assert stage.first == value
    assert [type(key) for key in stage.first] == [type(key) for key in value]
    (again,) = parse_stages(f"anything={value_text(value)}")
    assert again.first == value


@pytest.mark.parametrize("text", ["{5 1}", "{5:}", "{[1]: 2}", "{5: 1", "{5: 1,, 6: 2}"])
def test_a_map_that_is_none_is_refused_with_its_place(text):
    with pytest.raises(StrategyError, match=r"expected .* at character \d+, got "):
        dl.parse(f"logit_bias={text}")


def test_the_same_strategy_in_python_json_and_yaml():
    python = dl.Strategy.of(dl.Temperature(0.8) | dl.TopP(0.9) | dl.Sample(n=4))
    listed = [{"temperature": 0.8}, {"top_p": {"p": 0.9}}, "sample(n=4)"]
    lines = "- temperature: 0.8\n- top_p: {p: 0.9}\n- sample: {n: 4}\n"
    text = "temperature=0.8 | top_p=0.9 | sample(n=4)"
    assert str(python) == text
    assert dl.Strategy.of(text) == dl.Strategy.of(listed) == dl.Strategy.from_yaml(lines) == python
    assert dl.Strategy.from_json(json.dumps(listed)) == python


@given(data=st.data())
def test_every_strategy_reads_back_from_every_form(stage_lists, data):
    stages = data.draw(stage_lists)
    strategy = dl.Strategy.of(stages)
    forms = [
        dl.Strategy.of(str(strategy)),
        dl.parse(str(strategy)),
        dl.Strategy.of(strategy.to_json()),
        dl.Strategy.from_json(json.dumps(strategy.to_json(), allow_nan=False)),
        dl.Strategy.from_yaml(strategy.to_yaml()),
        dl.Strategy.of(yaml.safe_load(strategy.to_yaml())),
        dl.Strategy.of(Pipeline(strategy.stages)),
        dl.Strategy.of([str(stage) for stage in strategy.stages]),
        dl.Strategy.of([{s.name: {p.name: getattr(s, p.name) for p in s.parameters()}} for s in strategy.stages]),
        dl.Strategy.of(strategy),
    ]
    for form in forms:
        assert form == strategy
        assert hash(form) == hash(strategy)
        assert str(form) == str(strategy)


@given(data=st.data())
def test_the_python_bar_is_the_bar_of_the_language(stage_lists, data):
    stages = data.draw(stage_lists)
    piped = stages[0]
    for stage in stages[1:]:
        piped = piped | stage
    assert dl.Strategy.of(piped) == dl.Strategy.of(" | ".join(map(str, stages))) == dl.Strategy.of(stages)


@given(data=st.data())
def test_white_space_does_not_matter(stage_lists, data):
    strategy = dl.Strategy.of(data.draw(stage_lists))
    space = st.text(" \t\n", max_size=3)
    loose = str(strategy)
    assume('"' not in loose)  # inside quotes it does
    for mark in "|=(),":
        loose = loose.replace(mark, f"{data.draw(space)}{mark}{data.draw(space)}")
    assert dl.Strategy.of(loose) == strategy


@pytest.mark.parametrize(
    "text",
    [
        'sample(n=4) | best_of(by=self_eval(yes=" ja", no=" nein"))',
        "sample(n=4) | weighted_vote(by=self_eval(yes=si), answer=number)",
        'value_beam(width=2, scorer=self_eval(question="?"), weight=0.5)',
        "sample(n=4) | best_of(by=self_eval)",
    ],
)
def test_a_value_may_be_a_call_and_reads_back_from_every_form(text):
    strategy = dl.Strategy.of(text)
    assert str(strategy) == text
    assert (
        dl.Strategy.from_json(json.dumps(strategy.to_json())) == dl.Strategy.from_yaml(strategy.to_yaml()) == strategy
    )


def test_a_call_whose_parameters_are_the_defaults_is_its_name():
    written = ("best_of(by=self_eval())", "best_of=self_eval", "best_of(by={self_eval: {yes: ' yes'}})")
    strategies = [*map(dl.Strategy.of, written), dl.Sample() | dl.BestOf(by=SelfEvaluation())]
    assert {str(dl.Strategy.of(strategy)) for strategy in strategies} == {"sample | best_of(by=self_eval)"}
    assert dl.Strategy.of("best_of(by=path_cost())") == dl.Strategy.of("best_of(by=path_cost)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("best_of(by=self_evl(yes=a))", "got self_evl; did you mean 'self_eval'?"),
        (
            "best_of(by=self_eval(yess=a))",
            "self_eval has no parameter 'yess'; did you mean 'yes'? (allowed: question, yes, no)",
        ),
        ("best_of(by=self_eval(yes=5))", "self_eval: yes must be a text, got 5; write it in quotes"),
        ("best_of(by=path_cost(depth=1))", "path_cost takes no parameters, got depth; write just path_cost"),
        ("best_of(by=mean_logprob(n=1))", "mean_logprob takes no parameters, got n; write just mean_logprob"),
        ("best_of(by=self_eval(yes=a, yes=b))", "expected 'yes' only once at character 29"),
        ("best_of(by=self_eval(yes=a", "expected ',' or ')' at character 27, got 'the end'"),
        ("best_of(by=self_eval(yes))", "expected '=' after the parameter name at character 25, got '))'"),
        ("best_of(by=" + "a(b=" * 30, "at most 20 nested brackets at character"),
    ],
)
def test_a_call_that_means_nothing_is_refused(text, message):
    with pytest.raises(StrategyError) as error:
        dl.parse(text)
    assert message in str(error.value)


def test_without_a_search_a_strategy_samples_once_and_says_so():
    assert str(dl.Strategy.of("top_p=0.9")) == "top_p=0.9 | sample"
    assert str(dl.Strategy.of("default")) == "default"


def test_the_parts_of_a_strategy():
    strategy = dl.Strategy.of("temperature=0.8 | top_p=0.9 | sample(n=4) | best_of")
    assert strategy.processors == (dl.Temperature(0.8), dl.TopP(0.9))
    assert strategy.search == dl.Sample(4)
    assert strategy.selection == dl.BestOf()
    assert dl.Strategy.of("greedy").processors == ()
    assert dl.Strategy.of("greedy").selection is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("greedy | temperature=0.5", "temperature (processor) cannot come after greedy (search)"),
        ("sample | greedy", "greedy (search) cannot come after sample (search)"),
        ("vote | best_of", "best_of (selection) cannot come after vote (selection)"),
        ("sample(n=4) | vote | top_p=0.5", "top_p (processor) cannot come after vote (selection)"),
        ("top_p=0.5 | default", "default (source) cannot come after top_p (processor)"),
        ("default | default", "default (source) cannot come after default (source)"),
        ("best_of | sample(n=4)", "sample (search) cannot come after best_of (selection)"),
    ],
)
def test_stages_in_an_order_that_means_nothing_are_refused(text, message):
    with pytest.raises(StrategyError) as error:
        dl.Strategy.of(text)
    assert str(error.value).startswith(message)
    assert "the order is default | models | processors | stops | search | driver | selection" in str(error.value)


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("temperature=0.8 | top_p=0.9 | sample(n=4) | best_of", []),
        ("temperature=1.0 | sample", ["temperature=1.0: temperature 1 changes nothing"]),
        ("top_p=1.0 | sample", ["top_p=1.0: p = 1 keeps every token"]),
        ("typical_p=1.0 | sample", ["typical_p=1.0: p = 1 keeps every token"]),
        ("top_k=5 | greedy", ["top_k=5: has no effect before greedy, which takes the argmax"]),
        ("typical_p=0.9 | greedy", []),
        ("sample | vote", ["vote: nothing to select from, the search returns one candidate"]),
        ("beam(width=3) | best_of", ["best_of: nothing to select from, the search returns one candidate"]),
        ("beam(width=3, n=3) | best_of", []),
    ],
)  # fmt: skip
def test_terms_without_effect_are_named(text, notes):
    assert dl.Strategy.of(text).no_effects() == notes
