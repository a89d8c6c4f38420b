"""What easy-VQA's questions tell about each image as a caption ("a blue circle"), with a BLIP of width 128.

Captions, written word by word:

    python -m smarttrim_jax.train --config=configs/easy_vqa_captions.py --workdir=runs/captions
    python -m smarttrim_jax.predict --workdir=runs/captions --image=FILE

Images found by captions and captions by images (the metric is recall at 1, 5 and 10, both ways), pairs judged:

    python -m smarttrim_jax.train --config=configs/easy_vqa_captions.py:retrieval --workdir=runs/retrieval
    python -m smarttrim_jax.predict --workdir=runs/retrieval --image=FILE --text="a blue circle"

    test split, 7 and 17 minutes on one core: CIDEr 7.42, by chance .66, trimmed 7.42 at 1.95x fewer MACs (with
    --config.evaluation.metrics=coco_captions,word_accuracy); mean recall 96.6 %, by chance 19.8 %, trimmed 98.1 % at
    1.98x (benchmarks/blip_tiny.json)

3,180 images to train on and 24 captions: a check that everything works, not a benchmark.
"""

from ml_collections import ConfigDict

from smarttrim_jax import CostConfig, blip_tiny
from smarttrim_jax.configuration import to_dict
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, OptimizerConfig, ScheduleConfig
from smarttrim_jax.objectives.retrieval import RetrievalConfig


def get_config(argument: str = "caption") -> ConfigDict:
    """Builds the experiment.

    Args:
        argument: "caption" to write captions, or "retrieval" to find images and captions.

    Returns:
        Settings of the experiment.

    Raises:
        ConfigError: There is no such variant.
    """
    if argument not in ("caption", "retrieval"):
        raise ConfigError(f"configs/easy_vqa_captions.py has no variant '{argument}'; it has: caption, retrieval")
    model = blip_tiny("retrieval" if argument == "retrieval" else "caption", 64)
    data = DataConfig(
        dataset="easy_vqa_captions",
        image_size=64,
        text_length=12,
        batch_size=64,
        start=model.text_start(),
    )
    config = ExperimentConfig(
        model=model,
        data=data,
        task=argument,
        optimizer=OptimizerConfig(learning_rate=5e-4, trimmer=5.0, clip_norm=1.0),
        retrieval=RetrievalConfig(queue_size=1024),
        cost=CostConfig(target_speedup=2.0),
        schedule=ScheduleConfig(full_steps=600, trim_steps=400),
        evaluation=EvaluationConfig(calibration_examples=362),
    )
    return ConfigDict(to_dict(config))
