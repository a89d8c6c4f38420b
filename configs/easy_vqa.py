"""easy-VQA (4,000 images of one shape, 38,575 questions, 13 answers) with a small METER."""

from ml_collections import ConfigDict

from smarttrim_jax import CostConfig, HeadConfig, meter_tiny
from smarttrim_jax.configuration import to_dict
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.training.experiment import ExperimentConfig, ScheduleConfig
from smarttrim_jax.training.optimizer import OptimizerConfig

# Steps at full capacity, steps of trim-tuning, peak learning rate, speed-up aimed at.
VARIANTS = {
    "": (5000, 2500, 5e-4, 2.0),
    "finetune": (5000, 0, 5e-4, 2.0),
    "trim": (0, 2500, 3e-4, 2.0),
    "quick": (450, 220, 5e-4, 2.1),
}


def get_config(argument: str = "") -> ConfigDict:
    """The experiment; `argument` chooses among those above."""
    if argument not in VARIANTS:
        raise ConfigError(f"configs/easy_vqa.py has no variant '{argument}'; it has: quick, finetune, trim, or none")
    full_steps, trim_steps, learning_rate, speedup = VARIANTS[argument]
    config = ExperimentConfig(
        model=meter_tiny(64, heads=(HeadConfig("vqa", "classifier", 0),)),
        data=DataConfig(dataset="easy_vqa", image_size=64, text_length=12, batch_size=64),
        optimizer=OptimizerConfig(learning_rate=learning_rate, trimmer=5.0, clip_norm=1.0),
        cost=CostConfig(target_speedup=speedup),
        schedule=ScheduleConfig(full_steps=full_steps, trim_steps=trim_steps),
    )
    return ConfigDict(to_dict(config))
