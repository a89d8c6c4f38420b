"""One example as a picture: the image as every layer reads it, the words, the heads, and what the task gives."""

from typing import Any

from PIL import Image

from smarttrim_jax.reporting.sheet import BLUE, FAINT, GREEN, INK, PALE, RED, Sheet, text_width
from smarttrim_jax.reporting.tiles import hatched, resized, tile

MARGIN, GAP = 24, 14
LARGE, MEDIUM, SMALL = 24, 18, 15
WIDTH = 1480
"""Width of the picture, in pixels."""
HEAD_WIDTH = 280
"""Width of a module's name and its bar, in pixels."""


def draw(example: Any) -> Image.Image:
    """Draws an explanation.

    The image appears as it is, then as each layer that it passes reads it. Below are the words, each with the layer
    that closed it, the share of heads that each attention module kept, and what a model of retrieval found.

    Args:
        example: A `serving.explanation.Explanation`.

    Returns:
        The picture.
    """
    sheet = Sheet(WIDTH, MARGIN)
    inner = WIDTH - 2 * MARGIN
    y = sheet.text(MARGIN, MARGIN, f"example {example.index}", SMALL, FAINT) + 4
    y = heading(sheet, MARGIN, y, example, inner) + GAP
    y = legend(sheet, MARGIN, y, example, inner) + GAP
    y = _layers(sheet, y, example, inner) + GAP
    y = _words(sheet, y, example, inner) + GAP
    y = _heads(sheet, y, example, inner) + GAP
    _found(sheet, y, example, inner)
    return sheet.picture()


def heading(sheet: Sheet, x: int, y: int, example: Any, width: int) -> int:
    """Writes what was asked or stated, what the model answered, and what that cost.

    Args:
        sheet: Sheet to write on.
        x: Left edge in pixels.
        y: Upper edge in pixels.
        example: A `serving.explanation.Explanation`.
        width: Maximum width in pixels.

    Returns:
        The lower edge in pixels.
    """
    if example.text and not example.references:  # A writing model reads no text but these.
        y = sheet.text(x, y, example.text, LARGE, INK, width) + 3
    right = "" if example.correct else f", but the answer is {example.label}"
    y = sheet.text(x, y, example.answer + right, LARGE, BLUE if example.correct else RED, width) + 3
    for reference in example.references:
        y = sheet.text(x, y, f"reference: {reference}", MEDIUM, INK, width)
    costs = f"{_percent(example.confidence)} sure, {_percent(example.macs)} of the MACs"
    return sheet.text(x, y, costs, MEDIUM, FAINT, width)


def legend(sheet: Sheet, x: int, y: int, example: Any, width: int) -> int:
    """Shows what open and closed patches look like.

    Args:
        sheet: Sheet to draw on.
        x: Left edge in pixels.
        y: Upper edge in pixels.
        example: A `serving.explanation.Explanation`, whose first image gives the sample.
        width: Maximum width in pixels; where both samples do not fit in, one is below the other.

    Returns:
        The lower edge in pixels.
    """
    whole = resized(example.images[0])
    middle = len(whole) // 2
    sample = whole[middle - 12 : middle + 12, middle - 24 : middle + 24]
    left = x
    for pixels, words in ((sample, "open: read by the layer"), (hatched(sample), "closed: no longer read")):
        needed = 58 + text_width(words, SMALL)
        if left > x and left + needed > x + width:
            left = x
            y += 24 + GAP // 2
        sheet.image(left, y, pixels)
        sheet.text(left + 58, y + 3, words, SMALL, FAINT)
        left += needed + 2 * GAP
    return y + 24


def reading(sheet: Sheet, x: int, y: int, example: Any, layer: int) -> int:
    """Draws an example's images, one below the other, as a layer reads them, and the share of open patches.

    Args:
        sheet: Sheet to draw on.
        x: Left edge in pixels.
        y: Upper edge in pixels.
        example: A `serving.explanation.Explanation`.
        layer: Number of the layer among `example.layers`.

    Returns:
        The lower edge in pixels.
    """
    for image, kept in zip(example.images, example.patches[layer], strict=True):
        y = sheet.image(x, y, tile(image, kept)) + 4
        y = sheet.text(x, y, f"{_percent(kept.mean())} open", SMALL, FAINT) + 4
    return y


def _layers(sheet: Sheet, y: int, example: Any, width: int) -> int:
    """Draws the images as they are and as each layer reads them, in rows; returns the lower edge."""
    whole = [resized(image) for image in example.images]
    step = len(whole[0]) + GAP
    across = (width + GAP) // step
    for start in range(0, 1 + len(example.layers), across):
        top = y
        for column in range(min(across, 1 + len(example.layers) - start)):
            layer = start + column - 1
            x = MARGIN + column * step
            below = sheet.text(x, top, "image" if layer < 0 else example.layers[layer], SMALL) + 4
            if layer >= 0:
                y = max(y, reading(sheet, x, below, example, layer))
                continue
            for image in whole:
                y = sheet.image(x, below, image)
                below = y + round(1.3 * SMALL) + 8
        y += GAP // 2
    return y


def _words(sheet: Sheet, y: int, example: Any, width: int) -> int:
    """Writes each word with the layer that closed it below; returns the lower edge."""
    y = sheet.text(MARGIN, y, "words, and the layer that closed each", SMALL, FAINT) + 4
    x, below = MARGIN, y
    for word, end in zip(example.words, example.dropped, strict=True):
        is_open = end == len(example.text_layers)
        fate = "kept" if is_open else example.text_layers[end]
        needed = min(width, max(text_width(word, MEDIUM), text_width(fate, SMALL)))
        if x > MARGIN and x + needed > MARGIN + width:
            x, y = MARGIN, below + 6
        lower = sheet.text(x, y, word, MEDIUM, INK if is_open else FAINT, width)
        below = max(below, sheet.text(x, lower, fate, SMALL, BLUE if is_open else FAINT))
        x += needed + 2 * GAP
    return below


def _heads(sheet: Sheet, y: int, example: Any, width: int) -> int:
    """Draws the share of open heads of every attention module as a bar; returns the lower edge."""
    y = sheet.text(MARGIN, y, "heads kept", SMALL, FAINT) + 4
    across = width // HEAD_WIDTH
    for number, (module, share) in enumerate(example.heads.items()):
        x = MARGIN + number % across * HEAD_WIDTH
        sheet.bar(x, y + 3, 60, 12, PALE)
        sheet.bar(x, y + 3, 60 * share, 12, BLUE)
        below = sheet.text(x + 70, y, f"{module}: {_percent(share)}", SMALL)
        if number % across == across - 1 or number == len(example.heads) - 1:
            y = below + 2
    return y


def _found(sheet: Sheet, y: int, example: Any, width: int) -> None:
    """Shows what a model of retrieval finds for the text, and for the image."""
    if example.found_images is not None:
        y = sheet.text(MARGIN, y, f"images for the text: {_place(example.found_images)}", MEDIUM, FAINT, width) + 8
        below = y
        for number, found in enumerate(example.found_images.first):
            whole = resized(found.content[0])
            side = len(whole)
            x = MARGIN + number * (side + GAP)
            if found.right:
                sheet.bar(x - 5, y - 5, side + 10, side + 10, GREEN)
            end = sheet.image(x, y, whole) + 8
            below = max(below, sheet.text(x, end, _score(found), SMALL, GREEN if found.right else FAINT))
        y = below + GAP
    if example.found_texts is not None:
        y = sheet.text(MARGIN, y, f"texts for the image: {_place(example.found_texts)}", MEDIUM, FAINT, width) + 4
        for found in example.found_texts.first:
            line = f"{found.content} ({_score(found)})"
            y = sheet.text(MARGIN, y, line, MEDIUM, GREEN if found.right else INK, width)


def _place(retrieved: Any) -> str:
    return f"the right one is number {retrieved.place} of {retrieved.candidates}"


def _score(found: Any) -> str:
    return f"score {found.score:.2f}" + (", right" if found.right else "")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
