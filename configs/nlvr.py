"""NLVR v1 (Suhr et al. 2017): human sentences about three boxes, true or false; a METER that reads three images.

The data comes as the official repository has it (`git clone https://github.com/lil-lab/nlvr`, its folder
`nlvr/nlvr`), or as archives of its `dev` and `test` folders:

    python -m smarttrim_jax.train --config=configs/nlvr.py --workdir=runs/nlvr --config.data.source=FOLDER

    test split, 44 minutes on one core: full 58.9 % right and 14.7 % consistent, trimmed 58.7 % and 13.9 % at 2.03x
    fewer MACs; majority answer 56.2 % and 10.9 %, text only 56.8 % and 11.3 % (benchmarks/nlvr.json)

Where the folder has no `train/`, most of `dev` serves for training: 760 pairs of sentence and picture, each with six
orders of its boxes, which is too little to learn the task from random weights. `--config=configs/nlvr.py:packages`
takes real pretrained encoders instead (see `smarttrim_jax.pretrained.packages`), and random weights where they are
absent: 8 to 13 s a step on one core, where half of its steps still gave every example the majority answer.

`--config.data.blind=True` whitens all images: the baseline of what the sentences alone give away.

`--config=configs/nlvr.py:blip` takes a BLIP of NLVR2's kind, which reads two pictures: the first two boxes side by
side, and the third.
"""

import dataclasses

from ml_collections import ConfigDict

from smarttrim_jax import (
    BlipConfig,
    CostConfig,
    HeadConfig,
    MeterConfig,
    TrimmingConfig,
    blip_tiny,
    meter_tiny,
)
from smarttrim_jax.configuration import to_dict
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.images import Preset
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, OptimizerConfig, ScheduleConfig
from smarttrim_jax.pretrained.packages import packages_meter

HEADS = (HeadConfig("nlvr2", "classifier", 0),)


def get_config(argument: str = "") -> ConfigDict:
    """Builds the experiment.

    Args:
        argument: "packages" for pretrained encoders, "blip" for a BLIP, or "" for a METER with random weights.

    Returns:
        Settings of the experiment.

    Raises:
        ConfigError: There is no such variant.
    """
    if argument not in ("", "packages", "blip"):
        raise ConfigError(f"configs/nlvr.py has no variant '{argument}'; it has: packages, blip, or none")
    data = DataConfig(dataset="nlvr", image_size=104, text_length=40, batch_size=48)
    model: MeterConfig | BlipConfig
    pixels: Preset
    if argument == "packages":
        pixels, rate, data = "imagenet", 1e-4, dataclasses.replace(data, image_size=98, batch_size=16)
        model = packages_meter(98, heads=HEADS, images=3, trimming=TrimmingConfig())
    elif argument == "blip":
        pixels, rate, data = "clip", 5e-4, dataclasses.replace(data, images=2, start="[ENC]")
        model = blip_tiny("nlvr2", 104, dropout=0.1)
    else:
        pixels, rate = "clip", 2.5e-4
        # Objects are 10 to 30 pixels wide: a patch of 13 holds a small one, at a third of the work of one of 8.
        model = meter_tiny(104, patch_size=13, heads=HEADS, images=3, dropout=0.1)
    return ConfigDict(
        to_dict(
            ExperimentConfig(
                model=model,
                task="nlvr2",
                pixels=pixels,
                init_from="packages" if argument == "packages" else "",
                data=data,
                optimizer=OptimizerConfig(learning_rate=rate, weight_decay=0.05, clip_norm=1.0),
                cost=CostConfig(target_speedup=2.0),
                # Eight times through what serves for training without `train/`; with it, ask for more.
                schedule=ScheduleConfig(full_steps=800, trim_steps=400),
                evaluation=EvaluationConfig(metrics=("accuracy", "consistency")),
            )
        )
    )
