"""`decodelab.models` offers what it says and loads what it needs only when it is used."""

import subprocess
import sys

import pytest

import decodelab.models


def python(code):
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "import decodelab.models",
        "from decodelab.models import load, list_models, model_info, ModelInfo; list_models()",
    ],
)
def test_neither_torch_nor_transformers_is_loaded_before_a_model_is(code):
    assert python(f"import sys; {code}; print([n for n in ('torch', 'transformers') if n in sys.modules])") == "[]"


def test_a_table_needs_no_transformers():
    assert (
        python("import sys; from decodelab.models import TableModel; print('transformers' in sys.modules)") == "False"
    )


def test_every_public_name_is_there_and_documented():
    for name in decodelab.models.__all__:
        assert getattr(decodelab.models, name).__doc__
    assert dir(decodelab.models) == decodelab.models.__all__
    assert not hasattr(decodelab.models, "no_such_name")
