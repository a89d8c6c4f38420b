"""A sheet that grows downwards while texts, images and bars are put on it."""

import functools
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

Color: TypeAlias = tuple[int, int, int]

INK: Color = (29, 36, 51)
FAINT: Color = (118, 127, 146)
PALE: Color = (227, 231, 238)
BLUE: Color = (61, 111, 182)
RED: Color = (194, 65, 59)
GREEN: Color = (46, 125, 80)

# Pillow's own font has no letters beyond ASCII. Pillow finds these by name where they are installed.
WIDE_FONTS = ("Arial Unicode.ttf", "NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "NotoSans-Regular.ttf", "arial.ttf")


class Sheet:
    """A white picture of a given width, as high as what is put on it.

    Args:
        width: Width in pixels.
        margin: Distance of the picture's lower edge from everything else, in pixels.
    """

    def __init__(self, width: int, margin: int):
        self._margin = margin
        self._height = 0
        self._image = Image.new("RGB", (width, 1024), "white")

    def text(self, x: int, y: int, text: str, size: int, color: Color = INK, width: int = 100_000) -> int:
        """Writes a text, in several lines where it is wider than asked for.

        Args:
            x: Left edge in pixels.
            y: Upper edge in pixels.
            text: Any text; a character that no font has is drawn as a box.
            size: Height of the letters in pixels.
            color: Color of the letters.
            width: Maximum width in pixels.

        Returns:
            The lower edge in pixels.
        """
        plain = "".join(character if character.isprintable() else " " for character in text)
        font = _font(size, plain.isascii())
        step = round(1.3 * size)
        for line in _lines(plain, font, width):
            self._reserve(y + step)
            ImageDraw.Draw(self._image).text((x, y), line, color, font)
            y += step
        return y

    def image(self, x: int, y: int, pixels: UInt8[np.ndarray, "height width 3"], frame: Color = PALE) -> int:
        """Puts an image on the sheet, within a frame of one pixel.

        Args:
            x: Left edge in pixels.
            y: Upper edge in pixels.
            pixels: The image, `[height, width, 3]`.
            frame: Color of the frame, which lies around the image.

        Returns:
            The lower edge in pixels.
        """
        height = len(pixels)
        width = pixels.shape[1]
        self._reserve(y + height + 1)
        ImageDraw.Draw(self._image).rectangle((x - 1, y - 1, x + width, y + height), outline=frame)
        self._image.paste(Image.fromarray(pixels), (x, y))
        return y + height

    def bar(self, x: int, y: int, width: float, height: int, color: Color) -> None:
        """Fills a rectangle.

        Args:
            x: Left edge in pixels.
            y: Upper edge in pixels.
            width: Width in pixels; below 1 nothing is drawn.
            height: Height in pixels.
            color: Color of the rectangle.
        """
        self._reserve(y + height)
        if width >= 1:
            ImageDraw.Draw(self._image).rectangle((x, y, x + round(width) - 1, y + height - 1), color)

    def picture(self) -> Image.Image:
        """Returns everything that was put on the sheet."""
        return self._image.crop((0, 0, self._image.width, self._height + self._margin))

    def _reserve(self, bottom: int) -> None:
        """Makes room down to a row of pixels."""
        self._height = max(self._height, bottom)
        if bottom + self._margin > self._image.height:
            larger = Image.new("RGB", (self._image.width, 2 * (bottom + self._margin)), "white")
            larger.paste(self._image)
            self._image = larger


def text_width(text: str, size: int) -> int:
    """Measures a text of one line.

    Args:
        text: The text.
        size: Height of the letters in pixels.

    Returns:
        Its width in pixels.
    """
    return round(_font(size, text.isascii()).getlength(text.replace("\n", " ")))


@functools.cache
def _font(size: int, ascii_only: bool) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    for name in () if ascii_only else WIDE_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _lines(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Divides a text into lines between words, and words that are wider than a line between letters."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines
