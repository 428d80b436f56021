"""What every test stands on: no network, one thread, fixed hypothesis settings, real data where it is."""

import os
from pathlib import Path

# Before anything imports transformers or torch, and inherited by the commands that tests start.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# One thread: the models here are too small to share out, and pytest-xdist already uses the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import HealthCheck, settings

# No deadline and no complaint about slow inputs: the machine may be busy, and no test here is about time.
settings.register_profile("decodelab", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# CI draws the same examples each time, so that a failure there is the change's own.
settings.register_profile("ci", parent=settings.get_profile("decodelab"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "decodelab")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real models and data sets that nobody here wrote, named by DECODELAB_DATA."""
    named = os.environ.get("DECODELAB_DATA")
    if not named:
        pytest.skip("needs real data: set DECODELAB_DATA to the folder that holds it (see README.md)")
    folder = Path(named).resolve()
    if not folder.is_dir():
        # Asked for and not there is a mistake, never a reason to pass over the tests in silence.
        pytest.fail(f"DECODELAB_DATA names {folder}, which is not a folder; mend or unset it", pytrace=False)
    return folder


@pytest.fixture(scope="session")
def stories260k_dir(data_dir: Path) -> Path:
    """A Llama of 260,032 parameters trained on TinyStories, in the form that transformers writes."""
    return data_dir / "models" / "stories260K"


@pytest.fixture(scope="session")
def babyllama_dir(data_dir: Path) -> Path:
    """A Llama of 936 k parameters over 105 characters, with no byte fallback."""
    return data_dir / "models" / "babyllama105"
