"""Images of every kind and from every source come out as people see them, or are refused in one sentence."""

import io
import os
import pathlib
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from smarttrim_jax.data import images
from smarttrim_jax.data.images import IMAGE_SUFFIXES, MOST_PIXELS, decode, open_image
from smarttrim_jax.errors import DataError

CASES = pathlib.Path(__file__).parents[2].parent / "shared" / "cases" / "images"
RNG = np.random.default_rng(0)
# Smooth, as photographs are: compression keeps it.
PHOTO = np.stack(np.meshgrid(np.linspace(20, 250, 96), np.linspace(240, 10, 64)), -1)
PHOTO = np.concatenate([PHOTO, 255 - PHOTO[..., :1]], -1).astype(np.uint8)
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: np.swapaxes(x, 0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.swapaxes(x[::-1, ::-1], 0, 1),
    8: lambda x: np.rot90(x),
}
ORIENTATION = 274


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(header: bytes, rows: bytes) -> bytes:
    parts = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in parts.items())


def png_of_size(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return png(header, bytes(100))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_safe_format_is_read(kind: str) -> None:
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    near = {"JPEG": 6, "GIF": 40}.get(kind, 0)
    assert abs(pixels(decode(encode(Image.fromarray(PHOTO), kind, **options), "x")) - PHOTO).max() <= near


@pytest.mark.parametrize("kind", ["ICO", "PPM", "TGA", "PCX", "EPS", "PDF", "JPEG2000", "DDS", "SGI", "AVIF"])
def test_another_format_is_refused_under_any_name(kind: str) -> None:
    try:
        data = encode(Image.fromarray(PHOTO), kind)
    except (OSError, KeyError):
        pytest.skip(f"this Pillow writes no {kind}")
    with pytest.raises(DataError, match=r"cannot read image 'a\.png': it is no PNG, JPEG, WebP, GIF, BMP or TIFF"):
        decode(data, "a.png")


def test_no_program_is_started(tmp_path: pathlib.Path) -> None:
    (tmp_path / "eps.png").write_bytes(encode(Image.fromarray(PHOTO), "EPS"))
    script = """
import sys
from smarttrim_jax.data.images import open_image
from smarttrim_jax.errors import DataError
from PIL import Image
started = []
starts = ("subprocess", "os.exec", "os.posix")
sys.addaudithook(lambda event, _: started.append(event) if event.startswith(starts) else 0)
for source in (sys.argv[1], Image.open(sys.argv[1])):
    try:
        open_image(source)
    except DataError:
        print("refused")
print(started)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "eps.png")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "refused\nrefused\n[]\n"


@pytest.mark.parametrize("orientation", [*TURNS, 0, 9])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_images_are_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    data = encode(Image.fromarray(PHOTO), kind, exif=exif, **options)
    wanted = TURNS.get(orientation, TURNS[1])(PHOTO)
    for image in (decode(data, "x"), open_image(Image.open(io.BytesIO(data)))):
        assert pixels(image).shape == wanted.shape
        assert abs(pixels(image) - wanted).max() <= (6 if kind == "JPEG" else 0)


def test_damaged_exif_does_not_cost_the_image() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[271] = "maker"
    good = exif.tobytes()
    for _ in range(200):
        bad = bytearray(good)
        for position in RNG.integers(0, len(bad), 3):
            bad[position] = RNG.integers(256)
        data = encode(Image.fromarray(PHOTO), "JPEG", exif=bytes(bad[: RNG.integers(7, len(bad) + 1)]))
        assert sorted(decode(data, "x").size) == [64, 96]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_equals_its_twin_of_8(kind: str) -> None:
    grey = RNG.integers(0, 2**16, (9, 7)).astype(np.uint16)
    grey[0, :2] = 0, 2**16 - 1
    for image in (decode(encode(Image.fromarray(grey), kind), "x"), open_image(Image.fromarray(grey))):
        np.testing.assert_array_equal(pixels(image)[..., 1], np.round(grey / 257))


def test_big_endian_grey_of_16_bits() -> None:
    grey = RNG.integers(0, 2**16, (9, 7)).astype(np.uint16)
    image = Image.frombytes("I;16B", (7, 9), grey.astype(">u2").tobytes())
    np.testing.assert_array_equal(pixels(open_image(image))[..., 0], np.round(grey / 257))


def tiff(grey: np.ndarray, bits: int, sample_format: int, photometric: int) -> bytes:
    """An uncompressed little-endian TIFF with one strip."""
    if bits == 12:
        packed = "".join(f"{level:012b}" for level in grey.ravel())
        data = int(packed, 2).to_bytes(len(packed) // 8, "big")
    else:
        data = grey.tobytes()
    height, width = grey.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(data)}
    tags |= {339: sample_format}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_tiffs_say_their_range_and_whether_white_is_zero() -> None:
    grey = RNG.integers(0, 2**12, (4, 6)).astype(np.uint16)
    wide = RNG.integers(0, 2**16, (4, 6)).astype(np.uint16)
    part = RNG.random((4, 6), np.float32)
    twelve = pixels(decode(tiff(grey, 12, 1, 1), "x"))[..., 0]
    np.testing.assert_array_equal(twelve, np.floor(grey * (255 / 4095) + 0.5))
    np.testing.assert_array_equal(pixels(decode(tiff(wide, 16, 1, 1), "x"))[..., 0], np.round(wide / 257))
    np.testing.assert_array_equal(pixels(decode(tiff(wide, 16, 1, 0), "x"))[..., 0], 255 - np.round(wide / 257))
    assert abs(pixels(decode(tiff(part, 32, 3, 1), "x"))[..., 0] - part * 255).max() <= 0.5001


@pytest.mark.parametrize(
    ("values", "sample_format"),
    [
        (np.array([[0.5, np.nan]], np.float32), 3),
        (np.array([[0.5, np.inf]], np.float32), 3),
        (np.array([[0, 255]], np.float32), 3),
        (np.array([[-0.1, 0.5]], np.float32), 3),
        (np.array([[5, 255]], np.int32), 1),
        (np.array([[5, 255]], np.int32), 2),
        (np.array([[5, 255]], np.int16), 2),
    ],
)
def test_numbers_of_unknown_range_are_refused(values: np.ndarray, sample_format: int) -> None:
    with pytest.raises(DataError, match=r"cannot read image 'x': .*(from 0 to 1; scale|range of its 32-bit numbers)"):
        decode(tiff(values, 8 * values.itemsize, sample_format, 1), "x")


def test_colours_of_16_bits_equal_their_twin() -> None:
    colours = RNG.integers(0, 2**16, (5, 6, 3)).astype(np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    header = struct.pack(">IIBBBBB", 6, 5, 16, 2, 0, 0, 0)
    assert abs(pixels(decode(png(header, rows), "x")) - colours / 257).max() <= 1


@pytest.mark.parametrize(
    ("mode", "kind", "near"),
    [
        ("1", "PNG", 255),
        ("LA", "PNG", 1),
        ("P", "PNG", 60),
        ("PA", "TIFF", 60),
        ("RGBA", "PNG", 0),
        ("CMYK", "JPEG", 8),
        ("CMYK", "TIFF", 0),
        ("YCbCr", "TIFF", 4),
        ("LAB", "TIFF", 22),  # its steps are coarse, and not all colours are within reach
    ],
)
def test_every_mode_keeps_its_colours(mode: str, kind: str, near: int) -> None:
    photo = Image.fromarray(PHOTO)
    grey = np.asarray(photo.convert("L").convert("RGB")).astype(int)
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(photo, srgb, lab, outputMode="LAB")
    else:
        image = photo.convert(mode if mode != "PA" else "P").convert(mode)
    try:
        data = encode(image, kind, **({"quality": 95} if kind == "JPEG" else {}))
    except OSError:
        data = None
    wanted = grey if mode in ("1", "LA") else PHOTO
    for read in [open_image(image), *([decode(data, "x")] if data else [])]:
        assert abs(pixels(read) - wanted).max() <= near
    if mode == "1":
        assert set(np.unique(pixels(open_image(image)))) == {0, 255}


def test_the_first_picture_of_several_is_read() -> None:
    first, second = Image.fromarray(PHOTO), Image.fromarray(255 - PHOTO)
    for kind in ("GIF", "TIFF", "WEBP", "PNG"):
        data = encode(first, kind, save_all=True, append_images=[second])
        assert abs(pixels(decode(data, "x")) - PHOTO).mean() < 15


@pytest.mark.parametrize("size", [(100_000_000, 1), (1, 100_000_000), (20_000, 20_000), (65_536, 1), (0, 5)])
def test_too_many_pixels_are_refused_before_they_are_decoded(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(DataError, match="cannot read image 'x': "):
        decode(png_of_size(*size), "x")


def test_too_large_a_file_is_not_read(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_BYTES", 1000)
    with open(tmp_path / "large.png", "wb") as file:
        file.truncate(10**12)
    with pytest.raises(DataError, match=r"cannot read image '.*large\.png': .* larger than 1,000 bytes"):
        open_image(tmp_path / "large.png")
    with pytest.raises(DataError, match="it has 2,000 bytes; at most 1,000"):
        decode(bytes(2000), "x")


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, EOFError, OverflowError, RecursionError, struct.error])
def test_whatever_a_decoder_raises_becomes_one_sentence(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(self: ImageFile.ImageFile) -> None:
        raise error("first line\nsecond line")

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(DataError, match=r"^cannot read image 'x': first line; replace the file$"):
        decode(encode(Image.fromarray(PHOTO)), "x")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_damaged_files_are_read_or_refused(kind: str) -> None:
    good = encode(Image.fromarray(PHOTO[:20, :30].copy()), kind)
    refused = []
    for _ in range(150):
        bad = bytearray(good[: RNG.integers(1, len(good) + 1)] if RNG.random() < 0.3 else good)
        for position in RNG.integers(0, len(bad), RNG.integers(1, 6)):
            bad[position] = RNG.integers(256)
        try:
            assert decode(bytes(bad), "x").mode == "RGB"
        except DataError as error:
            refused.append(str(error))
    assert len(refused) > 10
    assert all(message.startswith("cannot read image 'x': ") and "\n" not in message for message in refused)


def test_files_arrays_and_pil_images_give_the_same(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(Image.fromarray(PHOTO)))
    alpha = np.concatenate([PHOTO, PHOTO[..., :1]], -1)
    path = tmp_path / "a.png"
    for source in (path, str(path), path.read_bytes(), Image.fromarray(PHOTO), PHOTO):
        np.testing.assert_array_equal(pixels(open_image(source)), PHOTO)
    for source in (alpha, jnp.asarray(PHOTO), np.asfortranarray(PHOTO), PHOTO[::-1][::-1]):
        np.testing.assert_array_equal(pixels(open_image(source)), PHOTO)
    grey = PHOTO[..., 0].copy()
    for source in (grey, grey[..., None]):
        np.testing.assert_array_equal(pixels(open_image(source)), np.stack([grey] * 3, -1))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("https://a.b/c.png", "'https://a.b/c.png': URLs are not fetched"),
        ("gs://bucket/c.png", "URLs are not fetched"),
        ("nowhere/a.png", "image 'nowhere/a.png' is missing"),
        ("a\0.png", r"cannot read image 'a\\x00\.png'"),
        ("\ud800.png", r"cannot read image '\\ud800\.png'"),
        ("line\nbreak.png", r"image 'line\\nbreak\.png' is missing"),
        ("x" * 5000, r"cannot read image 'x+\.\.\.': File name too long"),
        ("", "cannot read image '': it is no regular file"),
        (5, "of type int: give the path"),
        (None, "of type NoneType: give the path"),
        ([[1, 2]], "of type list: give the path"),
        (np.zeros((4, 4, 3)), r"an array of float64 \[4, 4, 3\] is no image; give uint8"),
        (np.zeros((4, 4), bool), "an array of bool"),
        (np.zeros((4, 4, 2), np.uint8), r"\[4, 4, 2\] is no image"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"\[1, 4, 4, 3\] is no image"),
        (np.zeros((0, 4, 3), np.uint8), "is empty"),
        (np.zeros(5, np.uint8), r"an array of uint8 \[5\] is no image"),
        (np.broadcast_to(np.uint8(0), (2**14, 2**14)), "it has 16,384 x 16,384 pixels"),
        (np.broadcast_to(np.uint8(0), (1, 2**17)), "it has 131,072 x 1 pixels"),
        (Image.new("RGB", (0, 5)), "it has 0 x 5 pixels"),
    ],
)
def test_what_is_no_image_is_refused(source: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        open_image(source)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_only_regular_files_are_opened(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("/dev/zero")
    for source in (tmp_path / "pipe.png", tmp_path / "link.png", tmp_path):
        with pytest.raises(DataError, match=r"no regular file|Is a directory"):
            open_image(source)


def test_suffixes_cover_what_is_read() -> None:
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in images.FORMATS}
    assert set(IMAGE_SUFFIXES) <= known
    assert {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"} <= set(IMAGE_SUFFIXES)


@pytest.mark.skipif(not CASES.is_dir(), reason=f"the cases are not at {CASES}")
def test_what_went_wrong_before() -> None:
    for twin in CASES.glob("*.twin.*"):
        name = twin.name.replace(".twin", "")
        assert abs(pixels(open_image(CASES / name)) - pixels(open_image(twin))).max() <= (12 if "exif" in name else 1)
    for name in ("photo.bmp", "photo.webp", "upright.png"):
        assert open_image(CASES / name).size == (96, 64)
    with pytest.raises(DataError, match="is no PNG"):
        open_image(CASES / "damaged_avif.bin")


def test_the_limits_fit_together() -> None:
    assert 4 * MOST_PIXELS <= 2**29  # what decoding holds at once, with transparency
