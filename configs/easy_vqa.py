"""easy-VQA (4,000 images of one shape, 38,575 questions, 13 answers) with a METER of 3 million parameters."""

from ml_collections import ConfigDict

from smarttrim_jax.configuration import to_dict
from smarttrim_jax.models import HeadConfig, meter_tiny


def get_config(argument: str = "") -> ConfigDict:
    """The experiment; `argument` chooses among those above."""
    model = to_dict(meter_tiny(64, heads=(HeadConfig("vqa", "classifier", 0),)))
    model["text"]["vocab_size"] = 0
    config = ConfigDict(
        {
            "model": model,
            "data": {"dataset": "easy_vqa", "image_size": 64, "text_length": 16, "batch_size": 64},
            "optimizer": {
                "learning_rate": 1e-3,
                "b2": 0.98,
                "weight_decay": 0.01,
                "warmup_fraction": 0.1,
                "clip_norm": 1.0,
            },
            "cost": {"target_speedup": 2.0, "weight": 10.0},
            "init_from": "",
            "schedule": {"full_steps": 2000, "trim_steps": 2000},
        }
    )
    if argument == "quick":
        config.schedule.full_steps, config.schedule.trim_steps = 400, 250
    return config
