"""Models of realistic sizes for `python -m smarttrim_jax.benchmark`; no data set of theirs is needed.

python -m smarttrim_jax.benchmark --config=configs/benchmark.py:meter_base --keep=1,0.5,0.3 --batch_sizes=1,8,16
python -m smarttrim_jax.benchmark --config=configs/benchmark.py:meter_base,224 --keep=0.5 --batch_sizes=4
python -m smarttrim_jax.benchmark --config=configs/benchmark.py:blip_vqa --keep=0.4 --against=torch

BLIP's models are measured up to what a decoder would read, or to the judgement of a pair.
"""

import dataclasses
import functools
from collections.abc import Callable

from ml_collections import ConfigDict

from smarttrim_jax import (
    BlipConfig,
    MeterConfig,
    TrimmingConfig,
    blip_base,
    blip_tiny,
    meter_base,
    meter_small,
    meter_tiny,
)
from smarttrim_jax.configuration import to_dict
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.blip.config import TASKS

# Preset, image size in pixels, tokens of a text, words of the vocabulary.
MODELS: dict[str, tuple[Callable[[int], MeterConfig | BlipConfig], int, int, int]] = {
    "meter_base": (meter_base, 384, 50, 50265),
    "meter_small": (meter_small, 112, 50, 30522),
    "meter_tiny": (meter_tiny, 64, 12, 100),
    "blip_tiny": (functools.partial(blip_tiny, "vqa"), 64, 12, 100),
    **{f"blip_{task}": (functools.partial(blip_base, task), 384, 22, 30524) for task in TASKS},
}


def get_config(argument: str = "meter_base") -> ConfigDict:
    """Builds an experiment that contains the model to measure.

    Args:
        argument: Name of an entry of `MODELS`; behind a comma, the image size in pixels if it is to differ.

    Returns:
        Settings of the experiment.

    Raises:
        ConfigError: There is no such model, or the size is not a number.
    """
    name, _, asked = argument.partition(",")
    if name not in MODELS:
        raise ConfigError(f"configs/benchmark.py has no model '{name}'; it has: {', '.join(MODELS)}")
    preset, pixels, length, words = MODELS[name]
    if asked and not asked.isdecimal():
        raise ConfigError(f"configs/benchmark.py:{argument}: '{asked}' is no number of pixels")
    pixels = int(asked) if asked else pixels
    model = preset(pixels)
    model = dataclasses.replace(
        model,
        text=dataclasses.replace(model.text, vocab_size=words),
        trimming=model.trimming or TrimmingConfig(),
    )
    data = DataConfig(
        dataset="easy_vqa", image_size=pixels, text_length=length, batch_size=8, start=model.text_start()
    )
    return ConfigDict(to_dict(ExperimentConfig(model=model, task=next(iter(model.tasks)), data=data)))
