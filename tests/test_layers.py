"""The layers of docs/decisions/0002-layers.md hold, and the contract that says so can fail."""

import subprocess
import sys
from pathlib import Path

import grimp
import networkx
import pytest

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
LINT_IMPORTS = """
import sys
from importlinter.cli import lint_imports
sys.exit(lint_imports(sys.argv[1], no_cache=True, no_logo=True))
"""


def lint_imports(cwd: Path) -> subprocess.CompletedProcess[str]:
    """import-linter, under our contracts, over the `decodelab` that is found first from `cwd`."""
    return subprocess.run([sys.executable, "-c", LINT_IMPORTS, str(PYPROJECT)], cwd=cwd, capture_output=True, text=True)


def write_package(root: Path, modules: dict[str, str]) -> None:
    for name, source in modules.items():
        path = root / "decodelab" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)


def test_imports_go_downwards_only():
    result = lint_imports(PYPROJECT.parent / "src")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("core", "search"),
        ("processors", "search"),
        ("models", "processors"),
        ("pocket", "models"),
        ("search", "strategy"),
        ("engine", "backends"),
        ("tasks", "bench"),
    ],
)
def test_an_import_upwards_or_sideways_is_refused(tmp_path: Path, importer: str, imported: str):
    write_package(
        tmp_path,
        {
            "__init__.py": '"""A package that breaks the layers."""\n',
            f"{importer}/__init__.py": "",
            f"{importer}/breaker.py": f"import decodelab.{imported}.used\n",
            f"{imported}/__init__.py": "",
            f"{imported}/used.py": "",
        },
    )
    result = lint_imports(tmp_path)
    assert result.returncode == 1
    assert f"decodelab.{importer}.breaker -> decodelab.{imported}.used" in result.stdout


def test_a_package_outside_the_layers_is_refused(tmp_path: Path):
    write_package(tmp_path, {"__init__.py": "", "core/__init__.py": "", "utils/__init__.py": ""})
    result = lint_imports(tmp_path)
    assert result.returncode == 1
    assert "utils" in result.stdout


def test_no_imports_in_a_circle_not_even_for_types_or_inside_functions():
    graph = grimp.build_graph("decodelab", cache_dir=None, exclude_type_checking_imports=False)
    imports = networkx.DiGraph(
        (importer, imported)
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    )
    circles = [sorted(circle) for circle in networkx.strongly_connected_components(imports) if len(circle) > 1]
    assert circles == []
