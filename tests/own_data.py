"""Folders of JSON lines with drawn images, made on the spot."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from raw_data import png

from smarttrim_jax.data.config import DataConfig

Row = dict[str, Any]


def draw(folder: pathlib.Path, images: int = 40) -> list[str]:
    """Writes images 0.png, 1.png ... of 8 pixels, each of its own grey; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(images):
        (folder / f"{number}.png").write_bytes(png(np.full((8, 8, 3), number, np.uint8)))
    return [f"{number}.png" for number in range(images)]


def write_lines(folder: pathlib.Path, **files: Sequence[Any]) -> pathlib.Path:
    """Writes `train=rows` as train.jsonl and so on; a row that is text stays as it is."""
    for name, rows in files.items():
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def asked(images: Sequence[str], **more: Any) -> list[Row]:
    """A question about each image, whose right answer is "even" or "odd"."""
    return [
        {"image": image, "text": f"is {number} odd?", "answer": ("even", "odd")[number % 2], **more}
        for number, image in enumerate(images)
    ]


def jsonl_config(folder: pathlib.Path, data_dir: pathlib.Path, **changes: Any) -> DataConfig:
    return DataConfig(
        **{
            "dataset": "jsonl",
            "image_size": 8,
            "text_length": 10,
            "batch_size": 4,
            "source": str(folder),
            "data_dir": str(data_dir),
            **changes,
        }
    )
