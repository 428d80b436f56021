"""A utility, for `mbr(utility=common_words)`."""


def common_words(hypothesis: str, reference: str) -> float:
    """How many different words two texts share."""
    return float(len(set(hypothesis.split()) & set(reference.split())))
