"""Emoji and their names: the pictures of a colour font, each with the words that Unicode calls it by."""

import functools
import importlib
import os
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from smarttrim_jax.data.builders.base import DatasetBuilder
from smarttrim_jax.data.builders.held_out import is_held_out
from smarttrim_jax.data.images import encode_png
from smarttrim_jax.data.schema import Record
from smarttrim_jax.errors import DataError, quoted, reason

FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
"""Where Debian's and Ubuntu's package fonts-noto-color-emoji has its font."""
FONT_SIZE = 109
"""The only size, in pixels, of the bitmaps of this font."""
PICTURE = (136, 128)
"""Width and height of a bitmap in pixels."""
VARIATION = "\N{VARIATION SELECTOR-16}"
"""Asks for the coloured form of a character; the font has no other."""
TEST_PERIOD = 10
CALIBRATION_PERIOD = 10


class EmojiCaptions(DatasetBuilder):
    """Names of emoji, for captions and retrieval: real pairs, whose words come again ("cat with tears of joy").

    The names are those of the package `emoji` (extra `emoji`, BSD licence). The pictures are drawn from a colour
    font, whose file is the `source`: by default that of Debian's package `fonts-noto-color-emoji` (SIL Open Font
    License).

    Taken are emoji of a single character, which every build of Pillow draws alike, without skin tones. Those that are
    newer than the font are left out, and their number is printed.

    | split | pairs with emoji 2.16 and Noto 2.042 | which |
    |---|---|---|
    | test | 142 | about a tenth, by a hash of the name |
    | calibration | 132 | about a tenth of the others, by another hash of the name |
    | train | 1,103 | the others |

    No name is in two splits. Found by chance, recall at 1, 5 and 10 of N pairs is 1/N, 5/N and 10/N. Preparation
    takes a few seconds and 10 MB.
    """

    def records(self, split: str) -> Iterator[Record]:
        """Yields the pairs of a split.

        Args:
            split: Name of the split: train, calibration or test.

        Yields:
            Records with one picture (a PNG file's bytes) and one reference, its name; `image_id` of the metadata is
            the number of the character in Unicode.
        """
        for name, character in self._pairs.items():
            if _split_of(name) == split:
                metadata = {"image_id": ord(character)}
                yield Record(name, [encode_png(self._drawn(character))], references=[name], metadata=metadata)

    @functools.cached_property
    def _pairs(self) -> dict[str, str]:
        """Character of each emoji by its name, in the order of the names."""
        try:
            table = importlib.import_module("emoji")
        except ImportError:
            raise DataError("emoji_captions needs the package emoji; pip install -e '.[emoji]' brings it") from None
        named: dict[str, str] = {}
        for written, entry in table.EMOJI_DATA.items():
            character = written.replace(VARIATION, "")
            if len(character) == 1 and entry["status"] == table.STATUS["fully_qualified"]:
                named[entry["en"].strip(":").replace("_", " ")] = character
        drawn = {name: character for name, character in sorted(named.items()) if self._has(character)}
        if len(drawn) < len(named):
            missing = len(named) - len(drawn)
            print(f"emoji_captions: the font lacks {missing:,} of {len(named):,} emoji; left out", flush=True)
        return drawn

    @functools.cached_property
    def _font(self) -> ImageFont.FreeTypeFont:
        path = os.path.expanduser(self.source or FONT)
        try:
            return ImageFont.truetype(path, FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)
        except OSError as error:
            raise DataError(
                f"emoji_captions cannot read the font {quoted(path)} ({reason(error)}); install "
                "fonts-noto-color-emoji, or give the file of its font as data.source"
            ) from None

    def _has(self, character: str) -> bool:
        """Whether the font has a picture of a character: anything but white."""
        return bool((np.asarray(self._drawn(character)) < 255).any())

    def _drawn(self, character: str) -> Image.Image:
        picture = Image.new("RGB", PICTURE, "white")
        ImageDraw.Draw(picture).text((0, 0), character, font=self._font, embedded_color=True)
        return picture


def _split_of(name: str) -> str:
    """The split of a name, whatever other names there are."""
    if is_held_out(f"test {name}", TEST_PERIOD):
        return "test"
    return "calibration" if is_held_out(name, CALIBRATION_PERIOD) else "train"
