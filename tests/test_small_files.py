"""Small files are read and written as a whole, and damaged ones named in one sentence."""

import json
import os
import pathlib

import pytest

from smarttrim_jax import small_files
from smarttrim_jax.errors import CheckpointError, ConfigError
from smarttrim_jax.small_files import read_json, read_whole, remove_halves, write_json, write_whole

REMEDY = "train again"
ODD = {
    b"": "no JSON",
    b"\0\0\0\0": "no JSON",
    b"{": "no JSON",
    b'{"a": 1} {"a": 2}': "no JSON",
    b'{"a": ' + b"1" * 5000 + b"}": "no JSON",
    b"[1, 2]": "holds no object, but a list",
    b"3": "holds no object, but a int",
    b"null": "holds no object, but a NoneType",
    b"[" * 100_000: "nested deeper than 100",
    b'{"a": ' * 100_000: "nested deeper than 100",
    '{"a": "\u00e9"}'.encode("latin-1"): "not UTF-8",
    '{"a": 1}'.encode("utf-16"): "not UTF-8",
}


def test_what_was_written_is_read(tmp_path: pathlib.Path) -> None:
    content = {"a": [1, 2.5, None, "\u00e9\U0001f600"], "b": {"c": True}}
    for _ in range(2):
        write_json(tmp_path / "file.json", content)
        assert read_json(tmp_path / "file.json", REMEDY) == content
    assert os.listdir(tmp_path) == ["file.json"]
    (tmp_path / "marked.json").write_bytes(b"\xef\xbb\xbf{}")
    assert read_json(tmp_path / "marked.json", REMEDY) == {}


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / "pipe", "told")
    assert os.read(reader, 10) == b"told"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path, "told")


@pytest.mark.parametrize("content", ODD, ids=range(len(ODD)))
def test_a_damaged_file_is_one_sentence_with_its_remedy(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / "odd.json").write_bytes(content)
    with pytest.raises(ConfigError, match=f"odd.json' is damaged .*{ODD[content]}.*; {REMEDY}$") as raised:
        read_json(tmp_path / "odd.json", REMEDY, ConfigError)
    assert "\n" not in str(raised.value)


def test_only_regular_files_up_to_a_size_are_read(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match=r"none\.json' is missing; train again"):
        read_json(tmp_path / "none.json", REMEDY)
    with pytest.raises(CheckpointError, match=r"pipe' cannot be read \(it is no regular file\); train again"):
        read_json(tmp_path / "pipe", REMEDY)
    with pytest.raises(CheckpointError, match=r"folder' cannot be read"):
        read_json(tmp_path / "folder", REMEDY)
    (tmp_path / "large").write_bytes(b"12345")
    assert read_whole(tmp_path / "large", most_bytes=5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_whole(tmp_path / "large", most_bytes=4)


def test_a_write_that_fails_leaves_what_was_there(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "file", "before")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(small_files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "file", "after")
    assert (tmp_path / "file").read_text() == "before"
    assert os.listdir(tmp_path) == ["file"]


def test_halves_of_killed_writers_are_removed_and_nothing_else(tmp_path: pathlib.Path) -> None:
    for name in (".config.json.1a2b3c4d.part", "config.json", ".hidden", "notes.part"):
        (tmp_path / name).write_text("{}")
    remove_halves(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".hidden", "config.json", "notes.part"]


def test_a_file_is_as_readable_as_others(tmp_path: pathlib.Path) -> None:
    (tmp_path / "other").write_text("")
    write_json(tmp_path / "file.json", {"a": json.loads("1e400")})
    assert (tmp_path / "file.json").stat().st_mode == (tmp_path / "other").stat().st_mode
