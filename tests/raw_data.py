"""Tiny raw data in the official layouts, made on the spot."""

import io
import itertools
import json
import pathlib

import numpy as np
from PIL import Image

ANSWERS = ("circle", "red", "yes", "no")
TRAIN_IMAGES, TEST_IMAGES, QUESTIONS_PER_IMAGE = 47, 5, 2


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def make_easy_vqa(folder: pathlib.Path) -> pathlib.Path:
    """Image i of a split has the colour (i, i, i), and a question that tells i and its own number."""
    folder.mkdir()
    (folder / "answers.txt").write_text("\n".join(ANSWERS))
    for split, images in {"train": TRAIN_IMAGES, "test": TEST_IMAGES}.items():
        (folder / split / "images").mkdir(parents=True)
        questions = []
        for image in range(images):
            pixels = np.full((8, 8, 3), image, np.uint8)
            (folder / split / "images" / f"{image}.png").write_bytes(png(pixels))
            for number in range(QUESTIONS_PER_IMAGE):
                questions.append([f"is shape {image} of {number} red?", ANSWERS[(image + number) % 4], image])
        (folder / split / "questions.json").write_text(json.dumps(questions))
    return folder


def make_nlvr(folder: pathlib.Path, splits: dict[str, list[tuple[str, str]]]) -> pathlib.Path:
    """Writes splits of (identifier, sentence): box k of an identifier's first order has its own colour."""
    for split, rows in splits.items():
        lines = []
        for row, (identifier, sentence) in enumerate(rows):
            directory = str(row % 3)
            (folder / split / "images" / directory).mkdir(parents=True, exist_ok=True)
            boxes = [np.full((100, 100, 4), (row, 10 + box, 200, 255), np.uint8) for box in range(3)]
            gap = np.full((100, 50, 4), (128, 128, 128, 255), np.uint8)
            for order, (a, b, c) in enumerate(itertools.permutations(boxes)):
                path = folder / split / "images" / directory / f"{split}-{identifier}-{order}.png"
                path.write_bytes(png(np.concatenate([a, gap, b, gap, c], axis=1)))
            shapes = [[{"type": "square", "color": f"{split} {row}", "x_loc": box}] for box in range(3)]
            line = {"identifier": identifier, "directory": directory, "sentence": sentence}
            line |= {"label": "true" if row % 2 else "false", "structured_rep": shapes, "evals": {}}
            lines.append(json.dumps(line))
        (folder / split / f"{split}.json").write_text("\n".join(lines) + "\n")
    return folder
