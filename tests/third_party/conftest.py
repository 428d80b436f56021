"""A package of another author, installed as pip would install it: its files and its entry points, nothing else."""

import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that holds the example plugin alone."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    site = tmp_path_factory.mktemp("site")
    (site / "example_plugin").symlink_to(PROJECT / "example_plugin")
    info = site / "example_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, names in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in names.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return site


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin installed in this process."""
    monkeypatch.syspath_prepend(str(site))
    for name in [name for name in sys.modules if name.startswith("example_plugin")]:
        monkeypatch.delitem(sys.modules, name)
