"""Raw files from folders, archives and buckets; what is hostile or odd is one sentence, in bounded memory."""

import dataclasses
import gzip
import io
import json
import os
import pathlib
import resource
import tarfile
from collections.abc import Callable
from typing import Any

import fsspec
import numpy as np
import pytest

from smarttrim_jax import ranges
from smarttrim_jax.data.builders import archives
from smarttrim_jax.data.builders.nlvr import NLVR
from smarttrim_jax.data.builders.raw_files import open_source
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset, prepare
from smarttrim_jax.errors import DataError

ROOTS = ("dev", "test")
Member = tuple[str, bytes | dict[str, Any]]


def pack(path: pathlib.Path, *members: Member) -> pathlib.Path:
    """An archive of files (name, content) and of others (name, fields of their header)."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                for key, value in content.items():
                    setattr(info, key, value)
                archive.addfile(info)
    return path


def packed(path: pathlib.Path, *parts: bytes) -> pathlib.Path:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for part in parts:
            file.write(part)
    return path


def link(kind: bytes, target: str) -> dict[str, Any]:
    return {"type": kind, "linkname": target}


def header(**fields: Any) -> bytes:
    info = tarfile.TarInfo("dev/a")
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def test_an_archive_is_read_at_any_depth_wherever_it_lies(tmp_path: pathlib.Path) -> None:
    pack(tmp_path / "one.tar.gz", ("x/y/dev/a.txt", b"A" * 5000), ("./test/b.txt", b""), ("other/c.txt", b"C"))
    pack(tmp_path / "two.tar.gz", ("dev/d.txt", b"D"))
    for source, more in ((tmp_path / "one.tar.gz", None), (tmp_path, b"D")):
        read = open_source(str(source), ROOTS, str(tmp_path / "made" / "here"))
        assert (read("dev/a.txt"), read("test/b.txt"), read("dev/d.txt")) == (b"A" * 5000, b"", more)
        assert read("other/c.txt") is None
    assert not list((tmp_path / "made" / "here").iterdir())  # nothing is left


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (("../dev/a", b"x"), r"its member '\.\./dev/a' lies outside it"),
        (("dev/../../a", b"x"), "lies outside it"),
        (("/dev/null", b"x"), "its member '/dev/null' lies outside it"),
        (("dev/" + "x" * 5000, b"x"), "is longer than 4,096 characters"),
    ],
)
def test_members_outside_an_archive_are_refused(tmp_path: pathlib.Path, member: Member, message: str) -> None:
    path = pack(tmp_path / "a.tar.gz", ("dev/b", b"x"), member)
    with pytest.raises(DataError, match=rf"cannot read the archive '.*a\.tar\.gz': .*{message}.*; fetch it again"):
        open_source(str(path), ROOTS)


@pytest.mark.parametrize(
    "fields",
    [
        link(tarfile.SYMTYPE, "nowhere"),
        link(tarfile.SYMTYPE, "dev/a"),
        link(tarfile.SYMTYPE, "/etc/passwd"),
        link(tarfile.LNKTYPE, "dev/nowhere"),
        link(tarfile.LNKTYPE, "dev/a"),
        {"type": tarfile.FIFOTYPE},
        {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
    ],
)
def test_links_and_the_like_are_refused_where_they_are_needed(tmp_path: pathlib.Path, fields: dict[str, Any]) -> None:
    read = open_source(str(pack(tmp_path / "a.tar.gz", ("dev/a", fields), ("dev/b", b"B"))), ROOTS)
    assert read("dev/b") == b"B"
    with pytest.raises(DataError, match=r"'dev/a' is a link or no whole file in its archive; pack it anew"):
        read("dev/a")


def grown() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


ZEROS = bytes(2**20)
SPARSE_MORE = b"00000000001\0" * 42 + b"\1" + bytes(7)


def sparse() -> bytes:
    """The header of a sparse file whose map goes on."""
    block = bytearray(header(type=tarfile.GNUTYPE_SPARSE, size=512))
    block[482] = 1
    block[483:495] = b"77777777777\0"
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


BOMBS: dict[str, tuple[Callable[[pathlib.Path], pathlib.Path], str]] = {
    "a huge file": (lambda path: packed(path, header(size=3 << 30), *[ZEROS] * 64), "has 3,221,225,472 bytes"),
    "a huge file elsewhere": (
        lambda path: packed(path, header(name="x", size=3 << 30), *[ZEROS] * 64),
        "has 3,221,225,472 bytes",
    ),
    "a huge map of a sparse file": (lambda path: packed(path, sparse(), *[SPARSE_MORE] * 10_000), "a header in it"),
    "a huge name": (
        lambda path: packed(path, header(type=tarfile.GNUTYPE_LONGNAME, size=2 << 30), *[ZEROS] * 64),
        "a header in it is too large",
    ),
    "a huge extended header": (
        lambda path: packed(path, header(type=tarfile.XHDTYPE, size=2 << 30), *[ZEROS] * 64),
        "a header in it is too large",
    ),
    "many files of zeros": (
        lambda path: packed(path, *[header(size=2**20), ZEROS] * 40),
        "unpacks to more than 100 times its size",
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_archives_that_are_bombs_are_refused_in_bounded_memory(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, bomb: str
) -> None:
    monkeypatch.setattr(archives, "UNSUSPICIOUS_BYTES", 2**24)
    make, message = BOMBS[bomb]
    path = make(tmp_path / "a.tar.gz")
    before = grown()
    with pytest.raises(DataError, match=message) as error:
        open_source(str(path), ROOTS, str(tmp_path))
    assert grown() - before < 64 << 20
    assert "\n" not in str(error.value)


def test_too_many_members_are_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 100)
    pack(tmp_path / "a.tar.gz", *[(f"dev/{i}", b"") for i in range(100)])
    with pytest.raises(DataError, match="more than 100 members"):
        open_source(str(tmp_path / "a.tar.gz"), ROOTS)


def test_damaged_archives_are_one_sentence(tmp_path: pathlib.Path) -> None:
    whole = pack(tmp_path / "whole.tar.gz", *[(f"dev/{i}", os.urandom(700)) for i in range(20)]).read_bytes()
    for length in range(0, len(whole), 997):
        (tmp_path / "cut.tar.gz").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cannot read the archive '.*cut\.tar\.gz'|no data at") as error:
            open_source(str(tmp_path / "cut.tar.gz"), ROOTS)
        assert "\n" not in str(error.value)
    (tmp_path / "flipped.tar.gz").write_bytes(whole[:500] + bytes([whole[500] ^ 255]) + whole[501:])
    with pytest.raises(DataError, match="cannot read the archive"):
        open_source(str(tmp_path / "flipped.tar.gz"), ROOTS)


def test_only_regular_files_of_a_folder_are_read(tmp_path: pathlib.Path) -> None:
    (tmp_path / "dev").mkdir()
    os.mkfifo(tmp_path / "dev" / "pipe")
    (tmp_path / "dev" / "zeros").symlink_to("/dev/zero")
    (tmp_path / "dev" / "loop").symlink_to("loop")
    read = open_source(str(tmp_path), ROOTS)
    assert read("dev/none") is read("dev/none/below") is None
    for name in ("pipe", "zeros", "loop"):
        with pytest.raises(DataError, match=f"cannot read '.*dev/{name}'.*; check data.source"):
            read(f"dev/{name}")


@pytest.fixture
def bucket(easy_vqa_source: pathlib.Path) -> str:
    """The raw data in memory, as fsspec shows buckets."""
    files = fsspec.filesystem("memory")
    files.put(f"{easy_vqa_source}/", "/bucket/easy_vqa", recursive=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "BUCKETS", ("gs://", "memory://"))
        yield "memory://bucket/easy_vqa"
    files.rm("/bucket", recursive=True)


def test_a_bucket_is_as_good_as_a_folder(
    bucket: str, config: DataConfig, dataset: Dataset, tmp_path: pathlib.Path, easy_vqa_source: pathlib.Path
) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as packed_source:
        packed_source.add(easy_vqa_source, "easy")
    fsspec.filesystem("memory").pipe("/bucket/packed/easy.tar.gz", archive.getvalue())
    for number, source in enumerate((bucket, "memory://bucket/packed/easy.tar.gz", "memory://bucket/packed")):
        prepared = prepare(dataclasses.replace(config, source=source, data_dir=str(tmp_path / str(number))))
        assert prepared.fingerprint == dataset.fingerprint


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("memory://nowhere/x", "no data at 'memory://nowhere/x'"),
        ("https://a.b/nlvr.tar.gz", "which is not fetched; download it"),
        ("nonsense://a/b", "nonsense"),
        ("simplecache::memory://a", "is not fetched"),
        ("a\0b", "no data at|cannot read"),
        ("~nobody_of_this_name/x", "cannot read '~nobody_of_this_name/x'"),
        ("x" * 5000, "File name too long"),
    ],
)
def test_places_that_are_none_are_refused(source: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        open_source(source, ROOTS)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_what_reaches_buckets_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(source: str) -> None:
        raise ImportError("Please install gcsfs")

    monkeypatch.setattr(fsspec, "url_to_fs", missing)
    with pytest.raises(DataError, match=r"'gs://bucket/nlvr', a bucket; pip install -e '\.\[gcs\]'"):
        open_source("gs://bucket/nlvr", ROOTS)
    with pytest.raises(DataError, match="'s3://bucket/nlvr', a bucket; Please install gcsfs"):
        open_source("s3://bucket/nlvr", ROOTS)


def test_a_reader_reads_no_more_than_it_is_told(bucket: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "plain" / "dev").mkdir(parents=True)
    (tmp_path / "plain" / "dev" / "a").write_bytes(b"x" * 100)
    pack(tmp_path / "a.tar.gz", ("dev/a", b"x" * 100))
    fsspec.filesystem("memory").pipe("/bucket/plain/dev/a", b"x" * 100)
    for source in (tmp_path / "plain", tmp_path / "a.tar.gz", "memory://bucket/plain"):
        read = open_source(str(source), ROOTS)
        assert read("dev/a", 100) == b"x" * 100
        with pytest.raises(DataError, match=r"dev/a.*(larger than 99 bytes|has 100 bytes; at most 99 are read)"):
            read("dev/a", 99)


def edit(path: pathlib.Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


ROW = ["is it red?", "yes", 3]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (None, "it is no list of three"),
        ({}, "it is no list of three"),
        (ROW[:2], "it is no list of three"),
        ([None, *ROW[1:]], "its question is no text"),
        (["", *ROW[1:]], "its question is no text"),
        (["\ud800", *ROW[1:]], "its question is no text"),
        ([5, *ROW[1:]], "its question is no text"),
        ([ROW[0], None, 3], "answers.txt lacks its answer 'None'"),
        ([ROW[0], "purple", 3], "answers.txt lacks its answer 'purple'"),
        ([ROW[0], ["yes"], 3], "answers.txt lacks its answer"),
        ([*ROW[:2], None], "its image is 'None'"),
        ([*ROW[:2], "3"], "its image is '3'"),
        ([*ROW[:2], True], "its image is 'True'"),
        ([*ROW[:2], -1], "its image is '-1'"),
        ([*ROW[:2], 2.0], "its image is '2.0'"),
        ([*ROW[:2], "../x"], r"its image is '\.\./x'"),
    ],
)
def test_rows_that_cannot_be_used_are_counted(
    raw_makers: dict[str, Callable[..., Any]], config: DataConfig, tmp_path: pathlib.Path, row: Any, message: str
) -> None:
    source = raw_makers["easy_vqa"](tmp_path / "raw")
    edit(source / "train" / "questions.json", lambda rows: [*rows[:7], row, *rows[8:20], row, *rows[21:]])
    with pytest.raises(DataError, match=r"faulty rows of 'train/questions.json': 2 \(row 8 \(.*, row 21 ") as error:
        prepare(dataclasses.replace(config, source=str(source), data_dir=str(tmp_path / "prepared")))
    assert error.match(message)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "prepared" / "easy_vqa" / "1.0.0").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"red\nyes\nred\nno", r"line 3 of easy-VQA's answers\.txt repeats 'red'"),
        (b"\n\n", "is empty"),
        (b"caf\xe9", "is damaged"),
    ],
)
def test_odd_answers_are_refused(
    raw_makers: dict[str, Callable[..., Any]],
    config: DataConfig,
    tmp_path: pathlib.Path,
    content: bytes,
    message: str,
) -> None:
    source = raw_makers["easy_vqa"](tmp_path / "raw")
    (source / "answers.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        prepare(dataclasses.replace(config, source=str(source), data_dir=str(tmp_path / "prepared")))


@pytest.mark.parametrize("content", [b"{}", b"3", b"[" * 100_000, b"\xff\xfe", b""])
def test_odd_questions_are_refused(
    raw_makers: dict[str, Callable[..., Any]], config: DataConfig, tmp_path: pathlib.Path, content: bytes
) -> None:
    source = raw_makers["easy_vqa"](tmp_path / "raw")
    (source / "test" / "questions.json").write_bytes(content)
    with pytest.raises(DataError, match=r"'test/questions.json' is damaged"):
        prepare(dataclasses.replace(config, source=str(source), data_dir=str(tmp_path / "prepared")))


def test_a_damaged_image_is_found_when_it_is_prepared(
    raw_makers: dict[str, Callable[..., Any]], config: DataConfig, tmp_path: pathlib.Path
) -> None:
    source = raw_makers["easy_vqa"](tmp_path / "raw")
    image = source / "train" / "images" / "7.png"
    image.write_bytes(image.read_bytes()[:50])
    with pytest.raises(DataError, match=r"images that cannot be read: 1 \(train 'train-7-14'\)"):
        prepare(dataclasses.replace(config, source=str(source), data_dir=str(tmp_path / "prepared")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sentence": None}, "its sentence is no text"),
        ({"label": None}, "its label is 'None', not false or true"),
        ({"label": ["true"]}, "its label is"),
        ({"identifier": "../../1"}, r"its identifier is '\.\./\.\./1'"),
        ({"identifier": 5}, "its identifier is '5'"),
        ({"directory": "/etc"}, "its directory is '/etc'"),
        ({"directory": None}, "its directory is 'None'"),
        ({"structured_rep": None}, "its structured_rep is no list of 3 lists"),
        ({"structured_rep": [[], [], 5]}, "its structured_rep is no list of 3 lists"),
    ],
)
def test_rows_of_nlvr_that_cannot_be_used_are_counted(
    raw_makers: dict[str, Callable[..., Any]], tmp_path: pathlib.Path, change: dict[str, Any], message: str
) -> None:
    source = raw_makers["nlvr"](tmp_path / "nlvr", {"dev": [("1-0", "a"), ("2-0", "b")], "test": [("3-0", "c")]})
    file = source / "dev" / "dev.json"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("\n".join([json.dumps(rows[0]), json.dumps(rows[1] | change), "{"]))
    builder = NLVR(str(source))
    list(builder.records("train"))
    with pytest.raises(DataError, match=r"faulty rows of 'dev/dev.json': 2 \(row 2 .*, row 3 ") as error:
        builder.faults().refuse("nlvr", str(source), tmp_path)
    assert error.match(message)


def test_pictures_and_identifiers_of_nlvr_are_checked(
    raw_makers: dict[str, Callable[..., Any]], tmp_path: pathlib.Path
) -> None:
    source = raw_makers["nlvr"](tmp_path / "nlvr", {"dev": [("1-0", "a"), ("1-0", "b")], "test": [("3-0", "c")]})
    file = next((source / "test" / "images").rglob("*.png"))
    file.write_bytes(raw_makers["png"](np.zeros((100, 300, 3), np.uint8)))
    builder = NLVR(str(source))
    assert len(list(builder.records("test"))) == 5
    with pytest.raises(
        DataError, match=r": 1 \(row 2 '1-0' \(its identifier is that of row 1.*not 400 x 100 pixels: 1 \("
    ):
        builder.faults().refuse("nlvr", str(source), tmp_path)
