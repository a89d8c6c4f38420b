"""The flags of every command that takes a trained model."""

import dataclasses

from smarttrim_jax.command_line import define
from smarttrim_jax.command_line.workdir import WORKDIR
from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.execution.base import ExecutionName
from smarttrim_jax.ranges import Name, Path, SpeedUp
from smarttrim_jax.serving.evaluation import open_data
from smarttrim_jax.serving.trained_model import TrainedModel, load_model

SPEEDUP = define("speedup", SpeedUp, None, "Speed-up in MACs; by default the one that the model was trained for.")
UNFINISHED = define("unfinished", bool, False, "Take a run's last checkpoint, trained to its end or not.")
SPLIT = define("split", Name, None, "Split of its data set; the configured one by default.")
EXECUTION = define(
    "execution",
    ExecutionName,
    None,
    "Closed tokens masked, as in training; out of memory, led by the host or in one program; or whichever suits.",
)
DATA_DIR = define("data_dir", Path, None, "Where its prepared data lies, if not where it was trained.")


def opened_model() -> TrainedModel:
    """Opens the model that `--workdir` names.

    Returns:
        The trained model.

    Raises:
        CheckpointError: There is no trained model, or its files are damaged.
    """
    trained = load_model(str(WORKDIR.value), unfinished=UNFINISHED.value)
    return trained if EXECUTION.value is None else trained.executed(EXECUTION.value)


def opened_data(trained: TrainedModel) -> Dataset:
    """Opens the data set that a model was trained on, in the folder that `--data_dir` names if it is given.

    Args:
        trained: The trained model.

    Returns:
        The prepared data set.

    Raises:
        ConfigError: The model names no data.
        DataError: The data cannot be opened, or is not what the model was trained on.
    """
    if DATA_DIR.value is not None:
        data = dataclasses.replace(trained.config.data, data_dir=DATA_DIR.value)
        trained = dataclasses.replace(trained, config=dataclasses.replace(trained.config, data=data))
    return open_data(trained)
