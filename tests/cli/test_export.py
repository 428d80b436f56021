"""`decodelab export`: a model in another format, or one line that says why not."""

from pathlib import Path

import pytest


def test_a_model_is_written_or_refused_in_one_line(run, tmp_path: Path):
    pytest.importorskip("gguf", reason="needs the gguf package: pip install 'decodelab[gguf]'")
    folder = tmp_path / "out"
    folder.mkdir()
    file = folder / "nano.gguf"
    made = run("export", "pocket-nano", "--gguf", str(file), "--dtype", "f16")
    assert made.code == 0
    assert file.read_bytes()[:4] == b"GGUF"
    refused = run("export", "pocket-nana", "--gguf", str(folder / "other.gguf"))
    assert refused.code != 0
    assert "there is no directory 'pocket-nana'" in refused.stderr
    assert run("export", "pocket-nano", "--gguf", str(folder / "no" / "x.gguf")).code != 0
    assert [path.name for path in folder.iterdir()] == ["nano.gguf"]
