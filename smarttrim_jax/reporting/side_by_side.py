"""Several questions about the same image in one picture: a row for each, a column for each layer."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from smarttrim_jax.reporting.picture import GAP, MARGIN, MEDIUM, SMALL, heading, legend, reading
from smarttrim_jax.reporting.sheet import FAINT, Sheet
from smarttrim_jax.reporting.tiles import resized

ASIDE = 260
"""Width of the questions beside their tiles, in pixels."""
COLUMNS = 4
"""Layers that are shown at most."""


def draw_side_by_side(examples: Sequence[Any]) -> Image.Image:
    """Draws several questions about the same image.

    Layers that read as much as the one before, whatever is asked, are left out. Where more than `COLUMNS` remain,
    only some are shown, in even steps up to the last.

    Args:
        examples: Explanations of one model, at least one, all with the images of the first.

    Returns:
        The picture.
    """
    first = examples[0]
    whole = [resized(image) for image in first.images]
    step = len(whole[0]) + GAP
    layers = closing_layers([example.patches for example in examples])
    left = MARGIN + step + GAP
    right = left + ASIDE + GAP
    sheet = Sheet(right + len(layers) * step - GAP + MARGIN, MARGIN)
    for column, layer in enumerate(layers):
        sheet.text(right + column * step, MARGIN, f"{first.layers[layer]} reads", MEDIUM)
    top = sheet.text(MARGIN, MARGIN, "image", MEDIUM) + 6
    y = top
    for image in whole:
        y = sheet.image(MARGIN, y, image) + GAP
    legend(sheet, MARGIN, y, first, step - GAP)
    y = top
    for example in examples:
        lower = [reading(sheet, right + column * step, y, example, layer) for column, layer in enumerate(layers)]
        below = heading(sheet, left, y, example, ASIDE) + 4
        below = sheet.text(left, below, f"words kept: {_kept_words(example)}", SMALL, FAINT, ASIDE)
        y = max(below, *lower) + GAP
    return sheet.picture()


def by_image(examples: Iterable[Any]) -> list[list[Any]]:
    """Gathers the explanations that are about the same images.

    Args:
        examples: Explanations.

    Returns:
        Groups of explanations, in the order of the first of each.
    """
    groups: dict[bytes, list[Any]] = {}
    for example in examples:
        groups.setdefault(example.images.tobytes(), []).append(example)
    return list(groups.values())


def closing_layers(patches: Sequence[np.ndarray]) -> list[int]:
    """Chooses the layers that tell most: those that read less than the one before.

    Args:
        patches: Which patches each layer reads, one array `[layers, images, rows, columns]` a question.

    Returns:
        Numbers of at most `COLUMNS` layers, ascending; the last layer alone where none closes anything.
    """
    read = np.stack(patches)  # [questions, layers, images, rows, columns]
    before = np.concatenate([np.ones_like(read[:, :1]), read[:, :-1]], axis=1)
    closing = np.flatnonzero((read != before).any(axis=(0, 2, 3, 4)))
    if not len(closing):
        return [read.shape[1] - 1]
    evenly = np.linspace(0, len(closing) - 1, min(COLUMNS, len(closing))).round().astype(int)
    return [int(number) for number in closing[evenly]]


def _kept_words(example: Any) -> str:
    """Joins the words that no layer closed."""
    layers = len(example.text_layers)
    return " ".join(word for word, end in zip(example.words, example.dropped, strict=True) if end == layers) or "none"
