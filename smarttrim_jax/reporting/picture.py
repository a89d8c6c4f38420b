"""One example as a picture: the image as each layer sees it, the words with where they were dropped, the heads."""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE, GAP, LINE = 160, 12, 20
INK, FAINT, BAR = (30, 30, 30), (150, 150, 150), (70, 110, 180)
VEIL = np.array([255.0, 255.0, 255.0])


def draw(example: Any) -> Image.Image:
    """Draws an explanation.

    The image appears once for every layer that it passes, with patches that the layer no longer reads veiled. Below
    are the words, each with the layer that dropped it, and the share of heads that each attention module kept.

    Args:
        example: A `serving.explanation.Explanation`.

    Returns:
        The picture.
    """
    columns, images = len(example.layers), len(example.images)
    width = GAP + max(columns, 4) * (SIDE + GAP)
    rows = max(len(example.words), len(example.heads)) + 1
    height = GAP + 2 * LINE + images * (SIDE + GAP) + 2 * LINE + rows * LINE + GAP
    picture = Image.new("RGB", (width, height), "white")
    canvas, font = ImageDraw.Draw(picture), ImageFont.load_default(13)

    verdict = "" if example.correct else f" (should be: {example.label})"
    title = f"{' '.join(example.words[1:-1])}   ->   {example.answer}{verdict}, {100 * example.confidence:.0f} %"
    canvas.text((GAP, GAP), f"{title}   {100 * example.macs:.0f} % of the MACs", INK, font)
    top = GAP + 2 * LINE
    for column, layer in enumerate(example.layers):
        left = GAP + column * (SIDE + GAP)
        kept = example.patches[column].mean()
        canvas.text((left, top - LINE), f"{layer}: {100 * kept:.0f} %", INK, font)
        for number in range(images):
            tile = veil(example.images[number], example.patches[column, number])
            picture.paste(tile, (left, top + number * (SIDE + GAP)))
    top += images * (SIDE + GAP) + 2 * LINE
    for number, (word, end) in enumerate(zip(example.words, example.dropped, strict=True)):
        alive = end == len(example.text_layers)
        fate = "kept" if alive else f"dropped by {example.text_layers[end]}"
        canvas.text((GAP, top + number * LINE), word, INK if alive else FAINT, font)
        canvas.text((GAP + 110, top + number * LINE), fate, INK if alive else FAINT, font)
    left = GAP + 2 * (SIDE + GAP)
    canvas.text((left, top - LINE), "heads kept", FAINT, font)
    canvas.text((GAP, top - LINE), "words", FAINT, font)
    for number, (module, share) in enumerate(example.heads.items()):
        y = top + number * LINE
        canvas.text((left, y), module, INK, font)
        canvas.rectangle((left + 170, y + 3, left + 170 + int(100 * share), y + 14), BAR)
        canvas.text((left + 280, y), f"{100 * share:.0f} %", INK, font)
    return picture


def veil(image: np.ndarray, kept: np.ndarray) -> Image.Image:
    """Draws an image with the patches that are not kept almost white.

    Args:
        image: Image uint8, `[size, size, 3]`.
        kept: Which patches are kept, bool `[rows, columns]`.

    Returns:
        The image at the size of a tile.
    """
    side = image.shape[0] // kept.shape[0]
    mask = np.kron(kept, np.ones((side, side), bool))[..., None]
    shown = np.where(mask, image, 0.12 * image + 0.88 * VEIL).astype(np.uint8)
    return Image.fromarray(shown).resize((SIDE, SIDE), Image.Resampling.NEAREST)
