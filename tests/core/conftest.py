"""Where the course's own data is."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def data() -> Path:
    """The folder of real data."""
    folder = os.environ.get("DECODELAB_DATA")
    if not folder:
        pytest.skip("needs the course's data: set DECODELAB_DATA")
    return Path(folder)
