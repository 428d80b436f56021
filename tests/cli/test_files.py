"""Prompts are read as given and refused with the line that is wrong; results are written whole or not at all."""

import os
from pathlib import Path

import pytest

from decodelab.cli.prompts import read_prompts
from decodelab.core.errors import OutputError, RequestError
from decodelab.io.atomic import check_writable, write_text


def test_arguments_are_literal_unless_escapes_are_asked_for():
    assert read_prompts([r"a\nb"], None) == [r"a\nb"]
    assert read_prompts([r"a\nb\\n\q"], None, escapes=True) == ["a\nb\\n\\q"]


def test_no_prompt_is_the_empty_prompt():
    assert read_prompts([], None) == [""]


def test_a_text_file_has_a_prompt_a_line(tmp_path: Path):
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffone\r\n\n  two \nthree\u2028still three".encode())
    assert read_prompts([], file) == ["one", "  two ", "three\u2028still three"]


@pytest.mark.parametrize("name", ["prompts.jsonl", "prompts"])
def test_jsonl_is_told_by_its_name_or_its_first_character(tmp_path: Path, name: str):
    file = tmp_path / name
    file.write_text('{"prompt": "two\\nlines", "id": 7}\n\n{"prompt": ""}\n')
    assert read_prompts([], file) == ["two\nlines", ""]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"prompt": "a"}\n{"prompt": \n', "line 2: not JSON"),
        ('{"prompt": "a"}\n["a"]', "line 2: needs an object"),
        ('{"prompt": "a"}\n{"promt": "b"}', "line 2: needs the field 'prompt'"),
        ('{"prompt": 7}', "line 1: needs the field 'prompt' as text"),
        ('{"prompt": "\\ud800"}', "line 1: needs the field 'prompt' as text"),
        ("plain", "line 1: not JSON"),
        ("", "has no prompts"),
        ("[" * 100_000, "line 1: not JSON (nested too deeply)"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, text: str, why: str):
    file = tmp_path / "prompts.jsonl"
    file.write_text(text)
    with pytest.raises(RequestError) as refusal:
        read_prompts([], file)
    assert why in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path):
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9")
    for file, why in [
        (tmp_path / "none.txt", "No such file"),
        (tmp_path, "Is a directory"),
        (latin, "not UTF-8 text (byte 4)"),
    ]:
        with pytest.raises(RequestError, match=why.replace("(", r"\(").replace(")", r"\)")):
            read_prompts([], file)


def test_arguments_together_with_a_file_are_refused(tmp_path: Path):
    with pytest.raises(RequestError, match="not both"):
        read_prompts(["a"], tmp_path / "b.txt")


def test_a_command_line_that_is_not_utf8_is_refused():
    with pytest.raises(RequestError, match="not UTF-8"):
        read_prompts([os.fsdecode(b"caf\xe9")], None)


def test_writing_replaces_a_file_whole_and_leaves_nothing_beside_it(tmp_path: Path):
    file = tmp_path / "report.html"
    file.write_text("old")
    file.chmod(0o640)
    check_writable(file)
    assert file.read_text() == "old"
    write_text(file, "new")
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_stays_a_link(tmp_path: Path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    write_text(link, "text")
    assert link.is_symlink()
    assert (tmp_path / "real").read_text() == "text"


def test_a_device_is_written_to_and_not_replaced():
    check_writable(Path(os.devnull))
    write_text(Path(os.devnull), "text")
    assert Path(os.devnull).is_char_device()


def test_a_path_that_cannot_be_written_is_refused_beforehand(tmp_path: Path):
    (tmp_path / "file").touch()
    for path, why in [
        (tmp_path, "it is a directory"),
        (tmp_path / "none" / "report.html", "there is no directory"),
        (tmp_path / "file" / "report.html", "there is no directory"),
        (tmp_path / ("x" * 300), "File name too long"),
    ]:
        with pytest.raises(OutputError) as refusal:
            check_writable(path)
        assert why in str(refusal.value)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that refuses new files")
def test_permission_bits_are_not_believed():
    with pytest.raises(OutputError):
        check_writable(Path("/proc/self/report.html"))
