"""The flags of every command that takes a trained model."""

import dataclasses

from smarttrim_jax.command_line import define
from smarttrim_jax.command_line.workdir import WORKDIR
from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.ranges import Name, Path, SpeedUp
from smarttrim_jax.serving.evaluation import open_data
from smarttrim_jax.serving.trained_model import TrainedModel, load_model

SPEEDUP = define("speedup", SpeedUp, None, "Speed-up in MACs; by default the one that the model was trained for.")
UNFINISHED = define("unfinished", bool, False, "Take a run's last checkpoint, trained to its end or not.")
SPLIT = define("split", Name, None, "Split of its data set; the configured one by default.")
DATA_DIR = define("data_dir", Path, None, "Where its prepared data lies, if not where it was trained.")


def opened_model() -> TrainedModel:
    """The model that `--workdir` names.

    Raises:
        CheckpointError: There is none.
    """
    return load_model(str(WORKDIR.value), unfinished=UNFINISHED.value)


def opened_data(trained: TrainedModel) -> Dataset:
    """The data set that a model was trained on, for what asks for a split of it.

    Raises:
        DataError: It cannot be opened, or is not what the model was trained on.
    """
    if DATA_DIR.value is not None:
        data = dataclasses.replace(trained.config.data, data_dir=DATA_DIR.value)
        trained = dataclasses.replace(trained, config=dataclasses.replace(trained.config, data=data))
    return open_data(trained)
