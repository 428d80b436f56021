"""Ctrl-C returns what is there: finished candidates as they are, unfinished ones marked."""

import pytest

import decodelab as dl
from decodelab.core.events import Event, Finished, Step
from decodelab.core.protocols import LanguageModel


class CtrlC:
    """An observer in which Ctrl-C is pressed at the n-th event of a kind."""

    def __init__(self, kind: type, at: int) -> None:
        self.kind, self.left = kind, at
        self.finished: list[int] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Finished):
            self.finished.append(event.generation.index)
        if isinstance(event, self.kind):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


@pytest.fixture
def model() -> LanguageModel:
    """After `a` it ends at once, after `b` it goes on for ever."""
    return dl.TableModel(["a", "b"], {"a": {"</s>": 1.0}, "b": {"b": 1.0}}, bos="<s>")


def test_finished_and_unfinished_generations_come_back(model):
    whole = dl.generate(model, ["a", "b", "b b"], "greedy", max_new_tokens=9, max_rows=1)
    found = dl.generate(model, ["a", "b", "b b"], "greedy", max_new_tokens=9, max_rows=1, observers=[CtrlC(Step, 4)])
    assert [g.index for g in found] == [0, 1]  # the third was not begun
    assert found[0].candidates == whole[0].candidates
    (partial,) = found[1].candidates
    assert partial.finish_reason == "interrupted"
    # The step that was interrupted leaves no trace.
    assert partial.tokens == whole[1].best.tokens[:2]
    assert partial.text == " b b"
    assert partial.token_logprobs == whole[1].best.token_logprobs[:2]
    assert partial.processed_logprobs == whole[1].best.processed_logprobs[:2]


def test_ctrl_c_at_the_first_step_gives_empty_candidates(model):
    (g,) = dl.generate(model, "b", "greedy", observers=[CtrlC(Step, 1)])
    assert (g.best.tokens, g.best.text, g.best.finish_reason) == ((), "", "interrupted")
    assert g.to_dict()["candidates"][0]["perplexity"] is None


def test_ctrl_c_while_a_finished_generation_is_reported_loses_nothing(model):
    press = CtrlC(Finished, 1)
    found = dl.generate(model, ["a", "b"], "greedy", max_new_tokens=9, observers=[press])
    assert [(g.index, g.best.finish_reason) for g in found] == [(0, "eos"), (1, "interrupted")]
    assert found[1].best.tokens == (1,)
    assert press.finished == [0, 1]


def test_of_several_samples_the_finished_come_first():
    model = dl.TableModel(["a"], {...: {"a": 0.7, "</s>": 0.3}}, bos="<s>")
    whole = dl.generate(model, "", "sample(n=20)", max_new_tokens=9)[0]
    (g,) = dl.generate(model, "", "sample(n=20)", max_new_tokens=9, observers=[CtrlC(Step, 4)])
    assert len(g.candidates) == 20
    done = [c for c in whole.candidates if len(c.tokens) <= 3]
    assert list(g.candidates[: len(done)]) == done
    for c in g.candidates[len(done) :]:
        assert c.finish_reason == "interrupted"
        assert c.tokens == whole.candidates[c.sample].tokens[:3]


def test_a_beam_gives_its_finished_hypotheses_then_its_live_beams():
    row = {"a": 0.4, "b": 0.3, "</s>": 0.3}
    model = dl.TableModel(["a", "b"], {...: row}, bos="<s>")
    strategy = "beam(width=3, n=3, early_stopping=never, length_penalty=2.0)"
    (g,) = dl.generate(model, "", strategy, max_new_tokens=30, observers=[CtrlC(Step, 5)])
    reasons = [c.finish_reason for c in g.candidates]
    assert reasons == sorted(reasons)  # eos before interrupted
    live = [c for c in g.candidates if c.finish_reason == "interrupted"]
    assert len(live) == 3
    assert all(len(c.tokens) == 4 for c in live)


def test_nothing_is_selected_from_what_is_unfinished(model):
    (g,) = dl.generate(model, "b", "sample(n=3) | best_of", max_new_tokens=9, observers=[CtrlC(Step, 3)])
    assert [c.sample for c in g.candidates] == [0, 1, 2]


def test_ctrl_c_inside_the_model_is_the_same(model):
    class Pressed:
        """A model in whose third forward pass Ctrl-C is pressed."""

        calls = 0

        def decode(self, cache, tokens):
            self.calls += 1
            if self.calls == 3:
                raise KeyboardInterrupt
            return model.decode(cache, tokens)

        def __getattr__(self, name):
            return getattr(model, name)

    (g,) = dl.generate(Pressed(), "b", "greedy", max_new_tokens=9)  # pyright: ignore[reportArgumentType]
    assert (len(g.best.tokens), g.best.finish_reason) == (3, "interrupted")


def test_other_exceptions_of_observers_are_not_swallowed(model):
    def broken(event: Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        dl.generate(model, "b", "greedy", observers=[broken])
