"""`decodelab models`: what ships, and what a directory holds."""

from pathlib import Path


def test_the_shipped_models_are_listed(run):
    found = run("models")
    assert found.code == 0
    assert "pocket-nano" in found.stdout
    assert "pocket-small" in found.stdout
    names = [model["name"] for model in run("models", "--json").json]
    assert names == ["pocket-nano", "pocket-small", "pocket-verifier"]


def test_one_model_with_its_settings_and_card(run):
    data = run("models", "pocket-nano", "--json").json
    assert data["context_length"] == 512
    assert data["generation_config"]["do_sample"] is True
    shown = run("models", "pocket-nano").stdout
    assert f"{data['parameters']:,}" in shown
    assert data["card"].strip().splitlines()[0] in shown


def test_a_directory_of_one_s_own(run, stories260k_dir: Path):
    data = run("models", str(stories260k_dir), "--json").json
    assert (data["parameters"], data["kind"], data["context_length"]) == (260_032, "llama", 512)


def test_a_hostile_card_cannot_drive_the_terminal(run, folder: Path):
    import json
    import struct

    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "llama"}))
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    (model / "README.md").write_text("# Card\n\nSafe.\x1b]0;title\x07")
    assert "\\x1b]0;title\\x07" in run("models", "model").stdout


def test_an_unknown_model_is_refused(run):
    found = run("models", "pocket-smal")
    assert (found.code, found.stdout) == (2, "")
    assert "pocket-smal" in found.stderr
