"""Stories and summaries: open-ended texts measured, and summaries compared with references."""

import pytest

from decodelab.core.errors import InvalidData, RequestError
from decodelab.tasks.stories import Stories
from decodelab.tasks.summaries import Summaries
from decodelab.tasks.task import Example, Verdict

STORY = Example("1", "Once upon a time,", None)


def test_a_story_is_scored_by_the_share_of_new_runs_of_four_words():
    judge = Stories().judge
    assert judge(STORY, " there was a little fox who lived by the river.").score == 1
    looped = judge(STORY, " and so" * 10)
    assert looped.score == pytest.approx(2 / 17)
    assert (looped.answer["loop"], looped.answer["unique_4_grams"], looped.answer["words"]) == (True, 2, 20)


@pytest.mark.parametrize(("text", "read"), [("", False), (" \n", False), ("...", False), (" The end.", True)])
def test_a_text_too_short_to_vary_scores_nothing(text, read):
    verdict = Stories().judge(STORY, text)
    assert (verdict.score, verdict.parsed) == (0, read)


def test_the_perplexity_under_a_judge_is_told_and_may_be_the_score():
    import decodelab as dl

    text = " there was a little fox named Tom."
    verdict = Stories(measure="probability", judge_model="pocket-nano").judge(STORY, text)
    expected = dl.score("pocket-nano", "Once upon a time,", text).perplexity
    assert verdict.answer["perplexity"] == pytest.approx(expected)
    assert verdict.score == pytest.approx(1 / expected)
    assert "acceptability" not in verdict.answer


def test_a_text_longer_than_the_judges_context_is_judged_in_windows():
    verdict = Stories(judge_model="pocket-nano").judge(STORY, " Tom ran home." * 300)
    assert verdict.answer["perplexity"] > 1


def test_prompts_are_lines_or_jsonl(tmp_path):
    text, rows = tmp_path / "p.txt", tmp_path / "p.jsonl"
    text.write_text("One day,\n\nA fox\r\n")
    rows.write_text('{"prompt": "One day,", "id": "a"}\n{"prompt": "A fox"}\n')
    assert [(e.id, e.prompt) for e in Stories().read(text)] == [("0", "One day,"), ("1", "A fox")]
    assert [(e.id, e.prompt) for e in Stories().read(rows)] == [("a", "One day,"), ("1", "A fox")]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"prompt": ""}', "line 1: needs the field 'prompt' as non-empty text"),
        ('{"prompt": "a"}\n{"text": "b"}', "line 2: needs the field 'prompt'"),
        ('{"prompt": "a", "id": "x"}\n{"prompt": "b", "id": "x"}', "line 2: id 'x' appears twice"),
        ('{"prompt": "a", "id": 1.5}', "id must be a text or a whole number, got 1.5"),
        ('{"prompt": "\\ud800"}', "line 1: 'prompt' has a lone surrogate"),
        ("", "has no prompts"),
    ],
)
def test_a_line_that_is_no_prompt_is_named(tmp_path, lines, message):
    file = tmp_path / "p.jsonl"
    file.write_text(lines)
    with pytest.raises((InvalidData, RequestError)) as error:
        Stories().read(file)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"measure": "beauty"}, "measure must be one of distinct, probability, acceptability, got 'beauty'"),
        ({"measure": "probability"}, "needs a language model; add judge_model"),
        ({"measure": "acceptability"}, "needs a classifier"),
    ],
)
def test_a_measure_without_what_it_needs_is_refused(parameters, message):
    with pytest.raises(InvalidData, match=message):
        Stories(**parameters)


def test_a_summary_is_scored_by_rouge_against_the_best_reference(tmp_path):
    file = tmp_path / "s.jsonl"
    file.write_text('{"document": "A tale.", "summary": ["The cat sat.", "A dog ran home."]}')
    (example,) = Summaries().read(file)
    assert example.prompt == "A tale.\n\nTL;DR:"
    verdict = Summaries().judge(example, " A dog ran home.\n\nMore text that is not the summary.")
    assert (verdict.score, verdict.answer["summary"]) == (1, "A dog ran home.")
    half = Summaries(measure="rouge1").judge(example, "the cat")
    assert half.score == pytest.approx(0.8)
    assert not Summaries().judge(example, " \n").parsed


def test_names_of_cnn_dailymail_are_read_too(tmp_path):
    file = tmp_path / "s.csv"
    file.write_text("id,article,highlights\nx,A tale.,Told.\n")
    (example,) = Summaries(request="\nIn short:").read(file)
    assert (example.id, example.prompt, example.reference) == ("x", "A tale.\nIn short:", ["Told."])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"document": "a"}', "line 1: needs the field 'summary'"),
        ('{"summary": "a"}', "line 1: needs the field 'document'"),
        ('{"document": "a", "summary": []}', "line 1: needs the field 'summary'"),
        ('{"document": "a", "summary": [""]}', "line 1: needs the field 'summary.0'"),
    ],
)
def test_a_row_that_is_no_summary_is_named(tmp_path, line, message):
    file = tmp_path / "s.jsonl"
    file.write_text(line)
    with pytest.raises(InvalidData, match=message):
        Summaries().read(file)


def test_an_unknown_rouge_is_refused():
    with pytest.raises(InvalidData, match="measure must be one of rouge1, rouge2, rouge_l, rouge_lsum, got 'rouge'"):
        Summaries(measure="rouge")


def test_long_hostile_texts_are_cut_before_they_are_measured():
    text = "\x1b[31m\0 a " * 200_000
    assert 0 <= Stories().judge(STORY, text).score <= 1
    assert 0 <= Summaries().judge(Example("1", "", ["a"]), text).score <= 1


def test_tables_have_the_means_of_what_was_measured():
    task = Stories()
    texts = (" one two three four five", " and so" * 10, "...")
    found = task.aggregate((None, task.judge(STORY, text)) for text in texts)
    assert found["words"] == 12.5
    assert found["ends in a loop"] == 0.5
    assert found["distinct"] == pytest.approx((1 + 2 / 17) / 2)
    assert "perplexity" not in found
    verdicts = [Verdict(0.0, {"words": 4, "perplexity": value}) for value in (2.0, 8.0)]
    assert task.aggregate((None, verdict) for verdict in verdicts)["perplexity"] == pytest.approx(4)
    assert Stories().aggregate([]) == Summaries().aggregate([]) == {}
    example = Example("1", "", ["a cat sat"])
    judged = [(None, Summaries().judge(example, text)) for text in ("a cat sat", "")]
    assert Summaries().aggregate(judged) == {"rouge1": 0.5, "rouge2": 0.5, "rouge_l": 0.5, "rouge_lsum": 0.5}
