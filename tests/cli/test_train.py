"""`decodelab train pocket`: the command around the trainer; the trainer has its own tests."""

from pathlib import Path


def test_ctrl_c_says_how_to_go_on(run, folder: Path, monkeypatch):
    def interrupted(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("decodelab.train.pocket.train_pocket", interrupted)
    found = run("train", "pocket", "--size", "nano", "--out", "made")
    assert found.code == 130
    assert "repeat the command to resume" in found.stderr
