"""Emoji come with their own names, each in one split; what is missing is named."""

import collections
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image

from smarttrim_jax.data import Record
from smarttrim_jax.data.builders.emoji_captions import FONT, EmojiCaptions
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.data.images import decode
from smarttrim_jax.errors import DataError

SPLITS = ("train", "calibration", "test")
MISSING = "\N{CAT FACE}"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures whose colours are the character's number, in the place of a font that may not be here."""
    pytest.importorskip("emoji", reason="the package emoji is not installed")

    def draw(self: EmojiCaptions, character: str) -> Image.Image:
        number = ord(character)
        color = (255, 255, 255) if character == MISSING else (number >> 16, number >> 8 & 255, number & 255)
        return Image.new("RGB", (4, 4), color)

    monkeypatch.setattr(EmojiCaptions, "_drawn", draw)


def records() -> dict[str, list[Record]]:
    builder = EmojiCaptions()
    return {split: list(builder.records(split)) for split in SPLITS}


@pytest.mark.usefixtures("drawn")
def test_every_picture_has_its_own_name(capsys: pytest.CaptureFixture[str]) -> None:
    found = {record.id: record for split in records().values() for record in split}
    assert len(found) > 1300
    for name, character in {"grinning face": "\N{GRINNING FACE}", "red heart": "\N{HEAVY BLACK HEART}"}.items():
        record = found[name]
        assert record.references == [name]
        assert record.metadata == {"image_id": ord(character)}
        pixel = np.asarray(decode(record.images[0], ""))[0, 0]  # type: ignore[arg-type]
        assert pixel.tolist() == [ord(character) >> 16, ord(character) >> 8 & 255, ord(character) & 255]
    assert "cat face" not in found
    assert "the font lacks 1 of" in capsys.readouterr().out
    assert not [name for name in found if "skin tone" in name or "_" in name or ":" in name]


@pytest.mark.usefixtures("drawn")
def test_a_name_is_in_one_split_whatever_others_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = records()
    counts = collections.Counter(record.id for split in whole.values() for record in split)
    assert set(counts.values()) == {1}
    for split in ("calibration", "test"):
        assert 0.05 < len(whole[split]) / len(counts) < 0.15
    pairs = EmojiCaptions()._pairs
    half = dict(list(pairs.items())[::2])
    monkeypatch.setattr(EmojiCaptions, "_pairs", half)
    for split, some in records().items():
        assert [record.id for record in some] == [record.id for record in whole[split] if record.id in half]


@pytest.mark.usefixtures("drawn")
def test_emoji_are_prepared(tmp_path: pathlib.Path) -> None:
    dataset = prepare(DataConfig("emoji_captions", 8, 12, 4, data_dir=str(tmp_path)))
    assert dataset.kind == "references"
    assert sum(dataset.split_sizes.values()) == sum(map(len, records().values()))


def test_a_missing_font_or_package_is_named(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("emoji", reason="the package emoji is not installed")
    (tmp_path / "text.ttf").write_text("no font")
    for path in (tmp_path / "text.ttf", tmp_path / "none.ttf"):
        with pytest.raises(DataError, match=rf"cannot read the font '{path}' \(.*\); install fonts-noto-color-emoji"):
            list(EmojiCaptions(str(path)).records("test"))
    monkeypatch.setitem(sys.modules, "emoji", None)
    with pytest.raises(DataError, match=r"needs the package emoji; pip install"):
        list(EmojiCaptions().records("test"))


@pytest.mark.skipif(not pathlib.Path(FONT).exists(), reason="the system has no Noto Color Emoji")
def test_the_systems_font_draws_them() -> None:
    pytest.importorskip("emoji", reason="the package emoji is not installed")
    found = (record for split in records().values() for record in split)
    (picture,) = (record.images[0] for record in found if record.id == "red heart")
    pixels = np.asarray(decode(picture, ""), np.int32).reshape(-1, 3)  # type: ignore[arg-type]
    assert (pixels[:, 0] - pixels[:, 1] > 100).mean() > 0.2
