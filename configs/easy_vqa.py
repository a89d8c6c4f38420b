"""easy-VQA (4,000 images of one shape, 38,575 questions, 13 answers) with a METER of 3 million parameters."""

from ml_collections import ConfigDict

from smarttrim_jax import CostConfig, HeadConfig, meter_tiny
from smarttrim_jax.configuration import to_dict
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.training.experiment import ExperimentConfig, ScheduleConfig
from smarttrim_jax.training.optimizer import OptimizerConfig

STEPS = {"": (2000, 2000), "quick": (400, 250)}


def get_config(argument: str = "") -> ConfigDict:
    """The experiment; `argument` chooses among those above."""
    full_steps, trim_steps = STEPS[argument]
    config = ExperimentConfig(
        model=meter_tiny(64, heads=(HeadConfig("vqa", "classifier", 0),)),
        data=DataConfig(dataset="easy_vqa", image_size=64, text_length=12, batch_size=64),
        optimizer=OptimizerConfig(learning_rate=5e-4, clip_norm=1.0),
        cost=CostConfig(target_speedup=2.0),
        schedule=ScheduleConfig(full_steps=full_steps, trim_steps=trim_steps),
    )
    return ConfigDict(to_dict(config))
