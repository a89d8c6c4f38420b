"""Emoji and their names with a BLIP of width 128: real pairs of pictures and words, from any Linux.

Pictures found by names and names by pictures, and names written for pictures that were never seen:

    pip install -e ".[emoji]" && apt install fonts-noto-color-emoji
    python -m smarttrim_jax.train --config=configs/emoji_captions.py:retrieval --workdir=runs/emoji
    python -m smarttrim_jax.train --config=configs/emoji_captions.py:caption --workdir=runs/emoji_names

    17 and 11 minutes on one CPU core: mean recall 16.1 %, by chance 3.8 %, trimmed 16.1 % at 1.94x fewer MACs; CIDEr
    .196, by chance .022, trimmed .148 at 1.97x (benchmarks/emoji_captions.json)

1,103 pairs to train on and 142 to test: a name is one of a kind, but its words come again ("cat with tears of joy").
By chance, recall at 1, 5 and 10 of these 142 is .7, 3.5 and 7.0 %. The captions are scored where the extra `captions`
is installed: --config.evaluation.metrics=coco_captions,word_accuracy.
"""

from ml_collections import ConfigDict

from smarttrim_jax import CostConfig, blip_tiny
from smarttrim_jax.configuration import to_dict
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, OptimizerConfig, ScheduleConfig
from smarttrim_jax.objectives.retrieval import RetrievalConfig


def get_config(argument: str = "retrieval") -> ConfigDict:
    """Builds the experiment.

    Args:
        argument: "retrieval" to find pictures and names, or "caption" to write names.

    Returns:
        Settings of the experiment.

    Raises:
        ConfigError: There is no such variant.
    """
    if argument not in ("caption", "retrieval"):
        raise ConfigError(f"configs/emoji_captions.py has no variant '{argument}'; it has: caption, retrieval")
    model = blip_tiny("retrieval" if argument == "retrieval" else "caption", 64)
    config = ExperimentConfig(
        model=model,
        data=DataConfig(
            dataset="emoji_captions",
            image_size=64,
            text_length=16,
            batch_size=64,
            start=model.text_start(),
        ),
        task=argument,
        optimizer=OptimizerConfig(learning_rate=5e-4, trimmer=5.0, clip_norm=1.0),
        retrieval=RetrievalConfig(queue_size=1024),
        cost=CostConfig(target_speedup=2.0),
        schedule=ScheduleConfig(full_steps=1000, trim_steps=500),
        evaluation=EvaluationConfig(calibration_examples=132),
    )
    return ConfigDict(to_dict(config))
