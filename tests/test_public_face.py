"""The public face: `decodelab` offers exactly what `__all__` says, is light and changes nothing."""

import subprocess
import sys
import types

import decodelab

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


def test_every_name_in_all_is_there():
    for name in decodelab.__all__:
        assert getattr(decodelab, name) is not None, name


def test_all_is_exactly_what_is_there():
    assert len(set(decodelab.__all__)) == len(decodelab.__all__)
    offered = {
        name
        for name in dir(decodelab)
        if not name.startswith("_") and not isinstance(getattr(decodelab, name), types.ModuleType)
    }
    assert offered == {name for name in decodelab.__all__ if not name.startswith("_")}


def test_a_name_that_is_not_there_is_an_attribute_error():
    assert not hasattr(decodelab, "no_such_name")


def test_every_public_name_is_documented():
    for name in decodelab.__all__:
        value = getattr(decodelab, name)
        if callable(value):
            assert value.__doc__, f"decodelab.{name} has no docstring"
