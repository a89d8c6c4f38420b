"""The folder of explained examples: the page, pictures of the first, and questions about one image side by side."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.reporting.page import build_page, is_page
from smarttrim_jax.reporting.picture import draw
from smarttrim_jax.reporting.side_by_side import by_image, draw_side_by_side

PAGE = "index.html"
EXAMPLES = "examples"
SIDE_BY_SIDE = "side_by_side"
ROWS = 6
"""Examples of a data set that are drawn together at most."""


def check_folder(folder: pathlib.Path) -> None:
    """Makes sure that nothing but an earlier page would be written over.

    Args:
        folder: Folder to write, which need not exist.

    Raises:
        ConfigError: The folder holds something else, or is a file.
    """
    if folder.exists() and not (folder.is_dir() and (is_page(folder / PAGE) or not any(folder.iterdir()))):
        raise ConfigError(f"'{folder}' holds something else than this command's pages; choose another --output")


def write_folder(
    folder: pathlib.Path,
    examples: Sequence[Any],
    title: str,
    scores: Mapping[str, float | None] | None,
    *,
    pictures: int,
) -> pathlib.Path:
    """Writes the page and the pictures, and deletes the pictures of an earlier page.

    Args:
        folder: Folder to write; see `check_folder`.
        examples: Explanations of `serving.explanation.explain`.
        title: Heading of the page.
        scores: Metrics over the examples of a data set by name; None for questions of the user, which are drawn
            together in `side_by_side.png`.
        pictures: Number of examples, and of images with several examples, that are drawn.

    Returns:
        Path of the page.

    Raises:
        DataError: The folder cannot be written.
    """
    try:
        for earlier in (EXAMPLES, SIDE_BY_SIDE):
            for picture in (folder / earlier).glob("[0-9]" * 6 + ".png"):
                picture.unlink()
        (folder / f"{SIDE_BY_SIDE}.png").unlink(missing_ok=True)
        (folder / EXAMPLES).mkdir(parents=True, exist_ok=True)
        for example in examples[:pictures]:
            draw(example).save(folder / EXAMPLES / f"{example.index:06d}.png")
        for group in [group for group in by_image(examples) if len(group) > 1][:pictures]:
            if scores is None:
                draw_side_by_side(group).save(folder / f"{SIDE_BY_SIDE}.png")
                continue
            (folder / SIDE_BY_SIDE).mkdir(exist_ok=True)
            draw_side_by_side(group[:ROWS]).save(folder / SIDE_BY_SIDE / f"{group[0].index:06d}.png")
        (folder / PAGE).write_text(build_page(examples, title, scores), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write to '{folder}': {error.strerror}; choose another --output") from None
    return folder / PAGE
