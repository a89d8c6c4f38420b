"""NLVR v1 (Suhr et al. 2017): human sentences about three boxes, true or false; a METER that reads three images.

The data comes as the official repository has it (`git clone https://github.com/lil-lab/nlvr`, its folder
`nlvr/nlvr`), or as archives of its `dev` and `test` folders:

    python -m smarttrim_jax.train --config=configs/nlvr.py --workdir=runs/nlvr --config.data.source=FOLDER

Where the folder has no `train/`, most of `dev` serves for training: about 760 sentences, each with six orders of
its boxes, which is too little to learn the task from random weights.
"""

from ml_collections import ConfigDict

from smarttrim_jax import CostConfig, HeadConfig, meter_tiny
from smarttrim_jax.configuration import to_dict
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.training.experiment import ExperimentConfig, ScheduleConfig
from smarttrim_jax.training.optimizer import OptimizerConfig


def get_config() -> ConfigDict:
    """The experiment."""
    return ConfigDict(
        to_dict(
            ExperimentConfig(
                model=meter_tiny(104, heads=(HeadConfig("nlvr2", "classifier", 0),), images=3, dropout=0.1),
                task="nlvr2",
                data=DataConfig(dataset="nlvr", image_size=104, text_length=40, batch_size=48),
                optimizer=OptimizerConfig(learning_rate=5e-4, weight_decay=0.05, clip_norm=1.0),
                cost=CostConfig(target_speedup=2.0),
                schedule=ScheduleConfig(full_steps=1500, trim_steps=1000),
            )
        )
    )
