"""What `explain` writes: the page, pictures of examples, and the questions about one image together."""

import dataclasses
import pathlib
from typing import Any

import pytest
from explained import explanation
from PIL import Image

from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.reporting.folder import check_folder, write_folder
from smarttrim_jax.reporting.page import is_page


def about_one_image(count: int) -> list[Any]:
    image = explanation(0).images
    return [dataclasses.replace(explanation(seed), images=image) for seed in range(count)]


def files(folder: pathlib.Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def height(file: pathlib.Path) -> int:
    with Image.open(file) as picture:
        return picture.height


def test_questions_of_a_user_are_one_picture_and_those_of_data_one_for_each_image(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "page"
    check_folder(folder)
    examples = [*about_one_image(8), explanation(8)]
    page = write_folder(folder, examples, "data", {"accuracy": 0.5}, pictures=2)
    assert is_page(page)
    drawn = {"index.html", "examples/000000.png", "examples/000001.png"}
    assert files(folder) == drawn | {"side_by_side/000000.png"}
    six = height(folder / "side_by_side" / "000000.png")
    check_folder(folder)
    write_folder(folder, examples[:8], "asked", None, pictures=2)
    assert files(folder) == drawn | {"side_by_side.png"}
    assert height(folder / "side_by_side.png") > six
    write_folder(folder, examples[:1], "asked", None, pictures=0)
    assert files(folder) == {"index.html"}


def test_only_folders_of_pages_are_written_over(tmp_path: pathlib.Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(ConfigError, match="holds something else than this command's pages"):
            check_folder(path)
    with pytest.raises(DataError, match=r"cannot write to '.*mine.txt/page'"):
        write_folder(tmp_path / "mine.txt" / "page", [explanation()], "page", None, pictures=1)
