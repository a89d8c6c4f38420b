"""Tiny folders in the layouts of official data sets, made on the spot; and how tests read them."""

import io
import json
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset, prepare
from smarttrim_jax.data.images import decode

YEARS = {"train": "train2014", "val": "val2014", "test-dev": "test-dev2015", "test": "test2015"}
Row = dict[str, Any]


def jpeg(brightness: int, mode: str = "RGB") -> bytes:
    """A grey JPEG of 8 pixels; its mode is RGB, L (one channel) or CMYK."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (brightness,) * 3).convert(mode).save(file, "JPEG", quality=95)
    return file.getvalue()


def brightness(content: bytes) -> int:
    """The brightness of an image that `jpeg` drew, as it comes back from prepared data."""
    return round(float(np.asarray(decode(content, "x")).mean()))


def write_image(path: pathlib.Path, brightness: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(brightness, mode))


def write_json(path: pathlib.Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_lines(path: pathlib.Path, rows: Iterable[Any]) -> None:
    """Writes a row per line; one that is text stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def vqa_question(number: int, image: int, commonest: str = "", people: Iterable[str] = ()) -> Row:
    """A question with what is known of it; by default ten people gave the commonest answer."""
    return {"number": number, "image": image, "commonest": commonest, "people": list(people) or [commonest] * 10}


def make_vqav2(folder: pathlib.Path, **splits: list[Row]) -> pathlib.Path:
    """Writes questions of "train", "val", "test_dev" or "test", and an image of the brightness of its number each."""
    for name, rows in splits.items():
        split = name.replace("_", "-")
        year = YEARS[split]
        questions = [
            {"question_id": row["number"], "image_id": row["image"], "question": f"What is {row['number']}?"}
            for row in rows
        ]
        write_json(folder / f"v2_OpenEnded_mscoco_{year}_questions.json", {"info": {}, "questions": questions})
        if split in ("train", "val"):
            annotations = [
                {
                    "question_id": row["number"],
                    "image_id": row["image"],
                    "question_type": "what is",
                    "answer_type": "other",
                    "multiple_choice_answer": row["commonest"],
                    "answers": [{"answer": answer, "answer_id": 1, "x": None} for answer in row["people"]],
                }
                for row in rows
            ]
            write_json(folder / f"v2_mscoco_{year}_annotations.json", {"annotations": annotations})
        images = year.replace("-dev", "")
        for image in {row["image"] for row in rows}:
            write_image(folder / images / f"COCO_{images}_{image:012}.jpg", image, ("RGB", "L", "CMYK")[image % 3])
    return folder


def nlvr2_row(identifier: str, sentence: str = "The dogs are equal.", label: str = "True", **more: Any) -> Row:
    """A row of NLVR2 as it is published, with keys that nobody reads."""
    return {"sentence": sentence, "label": label, "identifier": identifier, "left_url": "x", "validation": {}, **more}


def shade(number: int, pair: int, side: int) -> int:
    """The brightness of an image of NLVR2."""
    return 3 * number + 5 * pair + 40 * side


def make_nlvr2(folder: pathlib.Path, **splits: list[Row]) -> pathlib.Path:
    """Writes rows and their images, which are JPEGs whatever they are called, as many official ones are."""
    for split, rows in splits.items():
        write_lines(folder / "nlvr2" / "data" / f"{split}.json", rows)
        for row in rows:
            number, pair = map(int, row["identifier"].split("-")[1:3])
            place = folder / "images" / "train" / str(row["directory"]) if split == "train" else folder / split
            for side, mode in enumerate(("L", "CMYK") if pair else ("RGB", "RGB")):
                write_image(place / f"{split}-{number}-{pair}-img{side}.png", shade(number, pair, side), mode)
    return folder


def snli_ve_row(pair: str, label: str = "neutral", **changes: Any) -> Row:
    """A row of SNLI-VE about the image that a pair's name, as "101.jpg#0r1n", begins with."""
    row = {"pairID": pair, "Flickr30K_ID": pair.split(".")[0], "gold_label": label, "sentence1": "A caption."}
    return row | {"sentence2": f"A hypothesis of {pair}.", "annotator_labels": [label], **changes}


def make_snli_ve(folder: pathlib.Path, **splits: list[Row]) -> pathlib.Path:
    """Writes rows of "train", "dev" and "test", and an image of the brightness of its number for each."""
    for split, rows in splits.items():
        write_lines(folder / f"snli_ve_{split}.jsonl", rows)
        for number in {int(row["Flickr30K_ID"]) for row in rows}:
            path = folder / "flickr30k-images" / f"{number}.jpg"
            write_image(path, number, ("RGB", "L", "CMYK")[number % 3])
    return folder


def caption_row(number: int, split: str, *captions: str, **more: Any) -> Row:
    """An image of Karpathy's splits, by default with two captions; COCO's have filepath and cocoid too."""
    raw = captions or (f"A photograph of {number}.", f"{number} again")
    sentences = [{"tokens": text.split(), "raw": text, "imgid": 0, "sentid": 0} for text in raw]
    return {"filename": f"{number}.jpg", "split": split, "sentences": sentences, "imgid": 0, "sentids": [0], **more}


def coco_row(number: int, split: str, *captions: str) -> Row:
    year = "train2014" if split == "train" else "val2014"
    name = f"COCO_{year}_{number:012}.jpg"
    return caption_row(number, split, *captions, filename=name, filepath=year, cocoid=number)


def make_captions(folder: pathlib.Path, name: str, rows: list[Row]) -> pathlib.Path:
    """Writes `dataset_{name}.json` and the images, of the brightness of their number."""
    write_json(folder / f"dataset_{name}.json", {"images": rows, "dataset": name})
    for row in rows:
        number = int(row["filename"].removesuffix(".jpg").split("_")[-1])
        path = folder / row.get("filepath", "flickr30k-images") / row["filename"]
        write_image(path, number, ("RGB", "L", "CMYK")[number % 3])
    return folder


def official(dataset: str, source: pathlib.Path, data_dir: pathlib.Path, options: str = "") -> Dataset:
    """Prepares a data set."""
    return prepare(
        DataConfig(
            dataset=dataset,
            image_size=8,
            text_length=12,
            batch_size=4,
            source=str(source),
            options=options,
            data_dir=str(data_dir),
        )
    )


def records(dataset: Dataset, split: str) -> list[Row]:
    """All that is stored of a split."""
    stored = dataset.records(split)
    return stored.__getitems__(range(len(stored)))
