"""An experiment small enough to be run to its end in a test, and trimmers that decide without training."""

import dataclasses
import pathlib
from typing import Any

import jax
from raw_data import make_easy_vqa

from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.execution.config import ExecutionConfig
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, OptimizerConfig, ScheduleConfig
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.models.meter import FusionConfig, MeterConfig
from smarttrim_jax.nn.text import TextConfig
from smarttrim_jax.nn.vision import VisionConfig
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.policies import LearnedPolicyConfig


def tiny_model(**changes: Any) -> MeterConfig:
    # Without dropout, which takes long to compile; gates are still sampled.
    config = MeterConfig(
        vision=VisionConfig(image_size=8, patch_size=4, width=16, depth=2, heads=2, mlp_width=16),
        text=TextConfig(
            vocab_size=0,
            width=16,
            depth=1,
            heads=2,
            mlp_width=16,
            max_positions=12,
            position_rule="bert",
            pad_id=0,
            dropout=0.0,
        ),
        fusion=FusionConfig(width=16, depth=1, heads=2, mlp_width=16, dropout=0.0),
        heads=(HeadConfig("vqa", "classifier", 0),),
        trimming=TrimmingConfig(policy=LearnedPolicyConfig(hidden=4)),
    )
    return dataclasses.replace(config, **changes)


def small_model(**changes: Any) -> MeterConfig:
    """Width 32, 4 heads, 16 patches; 3 image layers, 2 text layers, 2 + 2 fusion layers."""
    config = MeterConfig(
        vision=VisionConfig(image_size=32, patch_size=8, width=32, depth=3, heads=4, mlp_width=64),
        text=TextConfig(vocab_size=50, width=32, depth=2, heads=4, mlp_width=64, max_positions=40),
        fusion=FusionConfig(width=32, depth=2, heads=4, mlp_width=64),
        heads=(HeadConfig("vqa", "classifier", 5),),
        trimming=TrimmingConfig(policy=LearnedPolicyConfig(hidden=8)),
    )
    return dataclasses.replace(config, **changes)


def tiny_experiment(folder: pathlib.Path) -> ExperimentConfig:
    """A tiny METER on tiny data, which is made in the folder."""
    return ExperimentConfig(
        model=tiny_model(),
        data=DataConfig(
            dataset="easy_vqa",
            image_size=8,
            text_length=10,
            batch_size=8,
            data_dir=str(folder / "prepared"),
            source=str(make_easy_vqa(folder / "raw")),
        ),
        # With a smaller eps Adam would turn what rounding leaves of a gradient of 0 into steps of full size.
        optimizer=OptimizerConfig(learning_rate=1e-2, clip_norm=1.0, eps=1e-4),
        schedule=ScheduleConfig(full_steps=8, trim_steps=12, log_every=1, save_every=10, writers=()),
        evaluation=EvaluationConfig(batch_size=4, speedups=(2.0,)),
        execution=ExecutionConfig(length_growth=2.0, capacity_growth=2.0),
    )


def decisive(trimmers: Any, seed: int = 9) -> Any:
    """Trimmer parameters whose decisions differ from token to token, head to head, example to example."""
    leaves, treedef = jax.tree.flatten(trimmers)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    drawn = [leaf + 0.5 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, drawn)
