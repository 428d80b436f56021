"""A scorer of one's own for my_task.yaml: half the score for missing the right number by one or by ten."""

import re


def score(example, text):
    """From 0 to 1, for the last number of the text; `example.reference` is the row's answer."""
    numbers = re.findall(r"\d{1,9}", text)
    if not numbers:
        return 0
    return {0: 1, 1: 0.5, 10: 0.5}.get(abs(int(numbers[-1]) - example.reference), 0)
