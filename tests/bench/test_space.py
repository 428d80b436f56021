"""A space is written as a strategy with ranges and choices, and every strategy of it is one that stages take."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodelab.bench.tune.space import Space
from decodelab.core.errors import DecodelabError
from decodelab.strategy.strategy import Strategy


class Dice:
    """Chooses at random, or always one end."""

    def __init__(self, seed: int = 0, end: int | None = None) -> None:
        self.random, self.end = random.Random(seed), end
        self.asked: list[str] = []

    def suggest_float(self, name, low, high, *, log=False):
        self.asked.append(name)
        return self.random.uniform(low, high) if self.end is None else (low, high)[self.end]

    def suggest_int(self, name, low, high, *, log=False):
        self.asked.append(name)
        return self.random.randint(low, high) if self.end is None else (low, high)[self.end]

    def suggest_categorical(self, name, choices):
        self.asked.append(name)
        return self.random.choice(list(choices))


def all_of(space, times=200):
    return {str(space.choose(Dice(seed))) for seed in range(times)}


def test_a_range_has_both_its_ends():
    space = Space.of(["temperature=0.2..1.5 | top_p=0.5..1"])
    assert str(space.choose(Dice(end=0))) == "temperature=0.2 | top_p=0.5 | sample"
    assert str(space.choose(Dice(end=1))) == "temperature=1.5 | top_p=1.0 | sample"


def test_a_range_of_an_integer_parameter_gives_integers_and_of_a_real_one_reals():
    found = all_of(Space.of(["beam(width=1..3, length_penalty=0..1)"]))
    parsed = [Strategy.of(text).search for text in found]
    assert {beam.width for beam in parsed} == {1, 2, 3}  # pyright: ignore[reportAttributeAccessIssue]
    assert len({beam.length_penalty for beam in parsed}) > 20  # pyright: ignore[reportAttributeAccessIssue]


def test_choices_are_taken_as_they_are():
    assert all_of(Space.of(["top_k={5, 50}"])) == {"top_k=5 | sample", "top_k=50 | sample"}
    assert all_of(Space.of(["beam(width=2, early_stopping={true, never})"])) == {
        "beam(width=2, early_stopping=true)",
        "beam(width=2, early_stopping=never)",
    }


def test_what_is_free_in_a_call_is_chosen_and_named_too():
    space = Space.of(
        ["best_of(by=self_eval(yes={a, b}, no=c))", "value_beam(width=1..2, scorer={logprob, self_eval(no=d)})"]
    )
    assert space.alternatives[0].names() == ["best_of.by.yes"]
    assert space.everything(6) == [
        "sample | best_of(by=self_eval(yes=a, no=c))",
        "sample | best_of(by=self_eval(yes=b, no=c))",
        "value_beam(width=1, scorer=logprob)",
        "value_beam(width=1, scorer=self_eval(no=d))",
        "value_beam(width=2, scorer=logprob)",
        "value_beam(width=2, scorer=self_eval(no=d))",
    ]


def test_alternatives_are_a_choice_before_the_others():
    space = Space.of(["greedy", "top_k=1..2", "temperature=0.5 | temperature=1..2"])
    dice = Dice()
    assert {str(space.choose(dice)).split("=")[0] for _ in range(50)} == {"greedy", "top_k", "temperature"}
    assert {"alternative", "2: top_k", "3: temperature #2"} == set(dice.asked)


def test_a_map_in_a_space_is_still_a_map():
    space = Space.of(["logit_bias={5: -1.0} | temperature=1..2"])
    assert str(space.choose(Dice(end=0))).startswith("logit_bias=[[5, -1.0]] | temperature=1.0")


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (["greedy"], 1),
        (["beam(width=2..5)", "top_k={1, 2, 3}"], 7),
        (["beam(width=2..5, early_stopping={true, false})"], 8),
        (["top_p=0.5..1"], None),
    ],
)
def test_a_space_knows_how_many_strategies_it_has(written, size):
    assert Space.of(written).size == size


@given(st.floats(0.01, 5), st.floats(0.01, 5), st.booleans(), st.integers())
def test_values_are_short_and_inside_and_the_strategy_can_be_pasted(a, width, log, seed):
    a = round(a, 2)
    b = round(a + width + 0.01, 2)
    strategy = Space.of([f"temperature={a}..{b}{' log' if log else ''}"]).choose(Dice(seed))
    assert Strategy.of(str(strategy)) == strategy
    value = strategy.processors[0].temperature  # pyright: ignore[reportAttributeAccessIssue]
    assert a <= value <= b
    assert len(repr(value)) <= 7


def test_the_same_space_may_be_yaml(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(
        "- greedy\n- [temperature: 0.2..2 log, top_k: '{5, 50}']\n- - beam: {width: 1..8, length_penalty: 0.5}\n"
    )
    read = Space.read(file)
    assert read == Space.of(
        ["greedy", "temperature=0.2..2 log | top_k={5, 50}", "beam(width=1..8, length_penalty=0.5)"]
    )


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ([], "there is nothing in it"),
        (["top_k=1..5", "top_k = 1..5"], '"top_k=1..5" is there twice'),
        (["tempreature=0..1"], "did you mean 'temperature'?"),
        (["beam(widht=1..3)"], "did you mean 'width'?"),
        (["temperature=-1..1"], "temperature must be a finite number, at least 0, got -1"),
        (["top_p=0.5..1.5"], "p must be in (0, 1], got 1.5"),
        (["beam(width=1.5..3)"], "width must be an integer, at least 1, got 1.5"),
        (["beam(width={2, 0})"], "width must be an integer, at least 1, got 0"),
        (["top_p=1..0.5"], "range 1..0.5: the lower end must be below the upper"),
        (["top_p=0.5..0.5"], "the lower end must be below the upper"),
        (["top_p=0.5..1e999"], "the lower end must be below the upper"),
        (["temperature=0..1 log"], "a log range must start above 0"),
        (["top_p=0.5.."], "expected the other end of the range at character 12"),
        (["top_k={5, 5}"], "one is there twice"),
        (["greedy | top_p=0.5..1"], "cannot come after greedy"),
        ([""], "expected the name of a stage"),
        ([7], "an alternative is text or a list of stages, got 7"),
        ([[{"top_p": "0.5..1", "top_k": 3}]], "a stage in a list is text or a name with its parameters"),
        ([[{"top_p": "1..0.5"}]], "the lower end must be below the upper"),
    ],
)
def test_what_is_wrong_with_a_space_is_said_in_one_line(written, message):
    with pytest.raises(DecodelabError) as error:
        Space.of(written)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_range_in_a_strategy_is_told_where_it_belongs():
    with pytest.raises(DecodelabError, match=r"one value \(ranges are for decodelab tune\) at character 10"):
        Strategy.of("top_p=0.5..1")


@pytest.mark.parametrize("text", ["[", "top_p: 0.5..1", "5"])
def test_a_file_that_is_no_space_is_refused(tmp_path, text):
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(DecodelabError, match=r"is not YAML|is no space"):
        Space.read(tmp_path / "space.yaml")
