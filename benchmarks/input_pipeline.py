"""Measures how many images a core reads, decodes, augments and resizes, through the pipeline that training uses.

    python benchmarks/input_pipeline.py --output=benchmarks/input_pipeline.json

It draws photograph-like JPEGs of the size of COCO (640 x 480 pixels, quality 90), prepares them as a data set in a
temporary folder, and reads one epoch of it for every combination of transform, augmentation and number of worker
processes, by turns. An image is decoded once in an epoch, so that no cache helps. Each row says:

- `images_per_second`: images over the time that passed, on as many cores as the pipeline found free.
- `images_per_core_second`: images over the processor time that all threads and processes of the pipeline took. It
  changes little where other programs compute beside it, and is what cores are to be planned by.

Both are medians over the repeats, each of which leaves out the start of the workers and the first batches.
`milliseconds` are the processor times of the single steps for one image. It runs on Linux alone.
"""

import argparse
import collections
import dataclasses
import io
import itertools
import json
import multiprocessing
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from PIL import Image, features
from PIL import __version__ as pillow_version

from smarttrim_jax.benchmarking.origin import origin, write_figures
from smarttrim_jax.data.augment import Augment, augmented
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset, prepare
from smarttrim_jax.data.images import Resize, decode, to_array
from smarttrim_jax.data.pipeline import READ, train_iterator

WIDTH, HEIGHT, QUALITY = 640, 480, 90
PIXELS = 384
BATCH_SIZE = 8
BATCHES_LEFT_OUT = 6
# Noise of so many cells across, each smoothed, with an amplitude in levels: coarse shapes and fine texture, of which
# the last decides how large the file becomes.
OCTAVES = ((4, 60), (16, 35), (64, 20), (160, 16), (320, 14))
TRANSFORMS: tuple[tuple[Resize, Augment], ...] = (
    ("resize", "none"),
    ("resize", "blip"),
    ("resize_crop", "none"),
    ("resize_crop", "clip_randaug"),
)
WORKERS = (0, 1, 2)


@dataclasses.dataclass(frozen=True)
class Rate:
    """How fast an epoch was read.

    Attributes:
        per_second: Images per second.
        per_core_second: Images per second of processor time.
    """

    per_second: float
    per_core_second: float


def main() -> None:
    """Draws the images, measures, and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=384, help="images of the epoch; at least 64")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", default="input_pipeline.json")
    options = parser.parse_args()
    if options.images < 64:
        parser.error(f"--images is {options.images}; give at least 64")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        files = draw_data(pathlib.Path(folder) / "source", options.images)
        report = {
            **origin(
                "python benchmarks/input_pipeline.py",
                pillow=pillow_version,
                libjpeg_turbo=features.version("libjpeg_turbo"),
            ),
            "load_before": load,
            "images": {
                "count": len(files),
                "width": WIDTH,
                "height": HEIGHT,
                "median_bytes": int(np.median([len(file) for file in files])),
            },
            "pixels": PIXELS,
            "threads": READ.num_threads,
            "milliseconds": milliseconds(files[:32], options.repeats),
            "results": measure(pathlib.Path(folder), options.repeats),
        }
    write_figures(options.output, report)
    print(json.dumps(report["milliseconds"]))


def draw_data(folder: pathlib.Path, count: int) -> list[bytes]:
    """Writes a folder of JSON lines with a question about each image; returns the JPEG files."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    files = [jpeg(photograph(generator)) for _ in range(count)]
    names = [f"{number}.jpg" for number in range(count)]
    for name, file in zip(names, files, strict=True):
        (folder / name).write_bytes(file)
    rows = [{"image": name, "text": "what is on the table?", "answer": "yes"} for name in names]
    for split, part in {"train": rows, "calibration": rows[:1], "test": rows[:1]}.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return files


def photograph(generator: np.random.Generator) -> Image.Image:
    """Draws smooth noise of several scales, whose spectrum and size as a JPEG are like a photograph's."""
    levels = np.full((HEIGHT, WIDTH, 3), 128.0)
    for cells, amplitude in OCTAVES:
        noise = generator.integers(0, 256, (cells * HEIGHT // WIDTH, cells, 3), np.uint8)
        smooth = Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        levels += amplitude * (np.asarray(smooth) / 127.5 - 1)
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image) -> bytes:
    """Encodes an image as photographs are encoded."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def milliseconds(files: list[bytes], repeats: int) -> dict[str, float]:
    """Measures the processor time that single steps take for one image, in milliseconds."""
    generator = np.random.default_rng(0)
    images = [decode(file, "image") for file in files]
    steps: dict[str, tuple[Callable[[Any], Any], Iterable[Any]]] = {
        "decode": (lambda file: decode(file, "image"), files),
        "resize": (lambda image: to_array(image, PIXELS, "resize"), images),
        "resize_crop": (lambda image: to_array(image, PIXELS, "resize_crop"), images),
        "clip_randaug": (lambda image: augmented(image, "clip_randaug", PIXELS, generator), images),
        "blip (with its crop and resize)": (lambda image: augmented(image, "blip", PIXELS, generator), images),
    }
    return {name: float(np.median([_one(*step) for _ in range(repeats)])) for name, step in steps.items()}


def _one(step: Callable[[Any], Any], inputs: Iterable[Any]) -> float:
    before = time.process_time()
    count = sum(step(each) is not None for each in inputs)
    return 1000 * (time.process_time() - before) / count


def measure(folder: pathlib.Path, repeats: int) -> list[dict[str, Any]]:
    """Reads an epoch with each combination of settings, by turns; returns a row of medians for each."""
    config = DataConfig(
        dataset="jsonl",
        image_size=PIXELS,
        text_length=10,
        batch_size=BATCH_SIZE,
        source=str(folder / "source"),
        data_dir=str(folder / "prepared"),
    )
    dataset = prepare(config)
    rates = collections.defaultdict(list)
    for _ in range(repeats):
        for (resize, augment), workers in itertools.product(TRANSFORMS, WORKERS):
            changed = dataclasses.replace(config, resize=resize, augment=augment, workers=workers)
            rates[resize, augment, workers].append(read_epoch(dataset, changed))
    rows: list[dict[str, Any]] = []
    for (resize, augment, workers), each in rates.items():
        row: dict[str, Any] = {
            "resize": resize,
            "augment": augment,
            "workers": workers,
            "images_per_second": float(np.median([rate.per_second for rate in each])),
            "images_per_core_second": float(np.median([rate.per_core_second for rate in each])),
        }
        plain = next((other for other in rows if other["workers"] == workers), row)
        row["time_over_plain_resize"] = plain["images_per_core_second"] / row["images_per_core_second"]
        rows.append(row)
        print(*(f"{value:.4g}" if isinstance(value, float) else value for value in row.values()), flush=True)
    return rows


def read_epoch(dataset: Dataset, config: DataConfig) -> Rate:
    """Reads the train split once and times all but the first batches."""
    batches = train_iterator(dataset, config)
    for _ in range(BATCHES_LEFT_OUT):
        next(batches)
    start, start_of_cores = time.perf_counter(), core_seconds()
    count = dataset.split_sizes["train"] // BATCH_SIZE - BATCHES_LEFT_OUT
    for _ in range(count):
        next(batches)
    seconds, of_cores = time.perf_counter() - start, core_seconds() - start_of_cores
    batches.close()
    images = count * BATCH_SIZE
    return Rate(images / seconds, images / of_cores)


def core_seconds() -> float:
    """Processor time of this process and its children, with all their threads, in seconds."""
    processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    ticks = 0
    for process in processes:
        # What follows the name of the program, which may hold spaces: state first, utime and stime as 12th and 13th.
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
