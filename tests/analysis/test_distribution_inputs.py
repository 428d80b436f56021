"""Probabilities, words and bad numbers as the input of `distribution`."""

import pytest

import decodelab as dl
from decodelab import LogitsWarning
from decodelab.core.errors import RequestError


def test_probabilities_are_taken_as_they_are():
    assert dl.distribution(probs=[0.5, 0.3, 0.2], strategy="sample").tolist() == pytest.approx([0.5, 0.3, 0.2])
    assert dl.distribution(probs=[0.5, 0.3, 0.2], strategy="top_p=0.7").tolist() == pytest.approx([0.625, 0.375, 0])
    assert dl.distribution(probs=[[0.9, 0.1], [0.0, 1.0]], strategy="greedy").tolist() == [[1, 0], [0, 1]]


def test_words_name_the_result_and_are_seen_by_stages():
    menu = {"margherita": 0.5, "new york": 0.3, "ananas": 0.2}
    assert dl.distribution(probs=menu, strategy="top_k=2") == {"margherita": 0.625, "new york": 0.375, "ananas": 0.0}
    banned = dl.distribution(probs=list(menu.values()), words=list(menu), strategy="ban=[margherita]")
    assert banned == pytest.approx({"margherita": 0.0, "new york": 0.6, "ananas": 0.4})


def test_logits_that_are_probabilities_are_noted():
    with pytest.warns(LogitsWarning, match="pass probabilities as probs="):
        dl.distribution([0.5, 0.3, 0.2], "sample")
    dl.distribution([0.5, 0.3, 0.3], "sample")  # a sum of 1.1
    dl.distribution([1.5, -0.3, -0.2], "sample")  # negative
    dl.distribution([1.0, 0.0], "sample")


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"logits": []}, "must have one number for each token"),
        ({"logits": [[]]}, "must have one number for each token"),
        ({"logits": 3.0}, "must have one number for each token"),
        ({"logits": {}}, "must have one number for each token"),
        ({"logits": ["a"]}, "logits must be numbers"),
        ({"logits": [[1.0], [1.0, 2.0]]}, "logits must be numbers"),
        ({"probs": [0.5, 0.6]}, "got a sum of 1.1"),
        ({"probs": [1.5, -0.5]}, "-0.5 as the least"),
        ({"probs": [0.5, float("nan")]}, "must not be negative and sum to 1"),
        ({}, "got none"),
        ({"logits": [1.0], "probs": [1.0]}, "got both"),
        ({"logits": [2.0, 1.0], "words": ["a"]}, "words must be 2 different words"),
        ({"logits": [2.0, 1.0], "words": ["a", "a"]}, "words must be 2 different words"),
    ],
)
def test_what_is_no_input_is_refused_in_a_line(given, error):
    with pytest.raises(RequestError, match=error):
        dl.distribution(strategy="sample", **given)
