"""A tiny BLIP for every task, on tiny data, as an experiment."""

import dataclasses
import json
import pathlib
from typing import Any

from raw_data import make_easy_vqa, make_nlvr

from smarttrim_jax.data.builders.easy_vqa_captions import COLORS, SHAPES
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.execution.config import ExecutionConfig
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, OptimizerConfig, ScheduleConfig
from smarttrim_jax.models.blip import BlipConfig
from smarttrim_jax.models.blip.config import BERT, STARTS, VIT
from smarttrim_jax.objectives.retrieval import RetrievalConfig
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.policies import LearnedPolicyConfig, RunTrimming

BATCH, PLACES = 4, 8
DATASETS: dict[str, Any] = {"nlvr2": "nlvr", "caption": "easy_vqa_captions", "retrieval": "easy_vqa_captions"}


def make_sources(folder: pathlib.Path) -> dict[str, str]:
    """Raw files by data set: images of which two questions tell shape and color, and sentences about boxes."""
    easy = make_easy_vqa(folder / "easy")
    (easy / "answers.txt").write_text("\n".join([*SHAPES, *COLORS, "yes", "no"]))
    for split, images in {"train": 47, "test": 5}.items():
        told = [(COLORS[i % 8], SHAPES[i % 3], i) for i in range(images)]
        questions = [[f"what is the {color} shape?", shape, i] for color, shape, i in told]
        questions += [[f"is there a {color} shape?", "yes", i] for color, _, i in told]
        (easy / split / "questions.json").write_text(json.dumps(questions))
    dev = [(f"{number}-0", f"there is a box {number}") for number in range(84, 104)]
    nlvr = make_nlvr(folder / "nlvr", {"dev": dev, "test": [("900-0", "no box"), ("901-0", "a box")]})
    return {"easy_vqa": str(easy), "easy_vqa_captions": str(easy), "nlvr": str(nlvr)}


def blip(task: Any, **changes: Any) -> BlipConfig:
    """As few layers as every kind of layer needs, 16 wide, 4 patches."""
    depth = 2 if task == "nlvr2" else 1
    config = BlipConfig(
        task=task,
        vision=dataclasses.replace(VIT, image_size=8, patch_size=4, width=16, depth=1, heads=2, mlp_width=16),
        text=dataclasses.replace(
            BERT, vocab_size=0, width=16, depth=depth, heads=2, mlp_width=16, max_positions=12, dropout=0.0
        ),
        first_merge=1,
        features=8,
        trimming=TrimmingConfig(image=RunTrimming(), text=RunTrimming(), policy=LearnedPolicyConfig(hidden=4)),
    )
    return dataclasses.replace(config, **changes)


def experiment(task: str, sources: dict[str, str], **changes: Any) -> ExperimentConfig:
    name = DATASETS.get(task, "easy_vqa")
    data = DataConfig(
        dataset=name,
        image_size=8,
        text_length=12,
        batch_size=BATCH,
        data_dir=str(pathlib.Path(sources["easy_vqa"]).parent / "prepared"),
        source=sources[name],
        images=2 if task == "nlvr2" else 0,
        start=STARTS[task],
        prompt="a picture of" if task == "caption" else "",
    )
    config = ExperimentConfig(
        model=blip(task),
        data=data,
        task=task,
        generator="unsafe_rbg",  # compiles fastest: a training pass draws in a hundred places
        optimizer=OptimizerConfig(learning_rate=1e-2, clip_norm=1.0, warmup_fraction=0.0),
        schedule=ScheduleConfig(full_steps=0, trim_steps=4, writers=()),
        retrieval=RetrievalConfig(momentum=0.5, queue_size=PLACES),
        evaluation=EvaluationConfig(batch_size=BATCH, speedups=(2.0,)),
        execution=ExecutionConfig(length_growth=2.0, capacity_growth=2.0),
    )
    return dataclasses.replace(config, **changes)
