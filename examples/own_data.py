"""Trains a tiny model on a folder of JSON lines, and asks it a question.

    python examples/own_data.py FOLDER

draws circles and squares into FOLDER/shapes, with train.jsonl and test.jsonl about them, trains on these in two
minutes on two cores, and answers a question about a picture. Nothing here is about data but `draw_folder`: with a
folder of your own, the rest stays as it is.
"""

import dataclasses
import json
import pathlib
import random
import sys

from PIL import Image, ImageDraw

from smarttrim_jax import CostConfig, HeadConfig, load_model, meter_tiny
from smarttrim_jax.data import DataConfig
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, OptimizerConfig, ScheduleConfig
from smarttrim_jax.training.run import train

COLORS = {"red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 80, 220)}
SHAPES = ("circle", "square")
SIZE = 32


def draw_folder(folder: pathlib.Path, images: int = 240, seed: int = 0) -> None:
    """Writes pictures of one shape each, and lines with two questions about each picture."""
    rng = random.Random(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for number in range(images):
        color, shape = rng.choice(list(COLORS)), rng.choice(SHAPES)
        left, top, side = rng.randrange(10), rng.randrange(10), rng.randrange(12, 20)
        picture = Image.new("RGB", (SIZE, SIZE), "white")
        draw = ImageDraw.Draw(picture)
        paint = draw.ellipse if shape == "circle" else draw.rectangle
        paint((left, top, left + side, top + side), fill=COLORS[color])
        picture.save(folder / "images" / f"{number}.png")
        split = "test" if number % 6 == 0 else "train"
        for text, answer in {"what color is it?": color, "which shape is it?": shape}.items():
            line = {"id": f"{number}: {text}", "image": f"images/{number}.png", "text": text, "answer": answer}
            lines[split].append(json.dumps(line))
    for split, rows in lines.items():
        (folder / f"{split}.jsonl").write_text("\n".join(rows) + "\n")


def experiment(folder: pathlib.Path) -> ExperimentConfig:
    """A METER of few layers, most of whose time goes into compilation, for what `draw_folder` wrote."""
    model = meter_tiny(SIZE, heads=(HeadConfig("vqa", "classifier", 0),))
    model = dataclasses.replace(model, fusion=dataclasses.replace(model.fusion, depth=1))
    data = DataConfig(
        dataset="jsonl",
        source=str(folder / "shapes"),
        data_dir=str(folder / "prepared"),
        image_size=SIZE,
        text_length=12,
        batch_size=32,
    )
    return ExperimentConfig(
        model=model,
        data=data,
        generator="rbg",  # compiles fastest
        optimizer=OptimizerConfig(learning_rate=1e-3, trimmer=4.0, clip_norm=1.0),
        cost=CostConfig(target_speedup=1.5),
        schedule=ScheduleConfig(trim_steps=180, writers=()),
        evaluation=EvaluationConfig(batch_size=80, speedups=(1.25,)),
    )


def main() -> None:
    """Draws, trains, asks."""
    folder = pathlib.Path(sys.argv[1])
    draw_folder(folder / "shapes")
    report = train(experiment(folder), str(folder / "run"))
    full = report["metrics"]["full"]["accuracy"]
    trimmed = report["metrics"]["trimmed"]["accuracy"]
    print(f"right answers: full {full:.0%}, trimmed {trimmed:.0%}")
    model = load_model(str(folder / "run"))
    question = "what color is it?"
    (answer,) = model.answer([folder / "shapes" / "images" / "0.png"], [question])
    print(f"{question} {answer.answer}")


if __name__ == "__main__":
    main()
