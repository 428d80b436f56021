"""The public face: `decodelab` offers exactly what `__all__` says, is light and changes nothing."""

import importlib
import importlib.metadata
import pkgutil
import subprocess
import sys
from inspect import ismodule

import decodelab
from decodelab.testing.public_names import STUB, stub_text

HEAVY = ("torch", "transformers", "tokenizers", "safetensors", "scipy", "networkx")


def python(code: str) -> str:
    """What `code` prints in a fresh interpreter in which a warning is an error."""
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def heavy_modules_after(code: str) -> str:
    return python(f"import sys\n{code}\nprint([name for name in {HEAVY!r} if name in sys.modules])")


def test_importing_the_package_loads_neither_torch_nor_transformers():
    assert heavy_modules_after("import decodelab") == "[]"


def test_listing_the_package_loads_neither_torch_nor_transformers():
    assert heavy_modules_after("import decodelab; dir(decodelab); decodelab.__all__") == "[]"


def test_importing_the_package_sets_no_logger_seed_or_warning_filter():
    code = """
import logging, random, warnings
def settings():
    loggers = [(log.level, list(log.handlers)) for log in map(logging.getLogger, (None, "decodelab"))]
    return loggers, random.getstate(), list(warnings.filters)
before = settings()
import decodelab
print(settings() == before)
"""
    assert python(code) == "True"


def test_every_name_in_all_is_there_under_its_own_name():
    for name in decodelab.__all__:
        value = getattr(decodelab, name)
        assert getattr(value, "__name__", name) == name


def test_all_is_exactly_what_is_there():
    assert sorted(set(decodelab.__all__)) == sorted(decodelab.__all__)
    assert sorted(dir(decodelab)) == sorted(decodelab.__all__)
    given = {n for n in every_name_of_ours() if hasattr(decodelab, n) and not ismodule(getattr(decodelab, n))}
    assert given <= set(decodelab.__all__)


def every_name_of_ours() -> set[str]:
    """The public classes and functions of every module below `decodelab`: what the face could give out."""
    modules = [module.name for module in pkgutil.walk_packages(decodelab.__path__, "decodelab.")]
    return {
        name
        for module in map(importlib.import_module, (m for m in modules if not m.endswith("__main__")))
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("decodelab.")
    }


def test_a_name_that_is_not_there_is_an_attribute_error():
    assert not hasattr(decodelab, "no_such_name")


def test_every_public_name_is_documented():
    for name in decodelab.__all__:
        value = getattr(decodelab, name)
        assert not callable(value) or value.__doc__, f"decodelab.{name} has no docstring"


def test_the_version_is_that_of_the_installed_package():
    assert decodelab.__version__ == importlib.metadata.version("decodelab")


def test_the_stub_that_type_checkers_read_is_up_to_date():
    assert STUB.read_text(encoding="utf-8") == stub_text(), "run `make stub`"
