"""Warnings about what still works, but not as one may expect."""


class PlainCacheWarning(UserWarning):
    """Rows that were forked do not share their past, because the model's attention cannot."""


class FewerCandidates(UserWarning):
    """A constraint left fewer different sequences than were asked for."""
