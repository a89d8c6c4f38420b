"""Checks of a whole run before anything is built: what its configuration asks of the data."""

from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.metrics import Scores
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.training.tasks import make_task
from smarttrim_jax.training.writers import check_writers


def check_run(config: ExperimentConfig, dataset: Dataset) -> None:
    """Whether training, calibration and evaluation can all be done, whatever the devices.

    Args:
        config: Run configuration, all sizes resolved.
        dataset: Its data set, prepared.

    Raises:
        ConfigError: Names the first setting that cannot work, and what would.
    """
    _check_splits(config, dataset)
    check_writers(config.schedule.writers)
    Scores(make_task(config, dataset.language).metric_names)


def _check_splits(config: ExperimentConfig, dataset: Dataset) -> None:
    sizes = dataset.split_sizes
    wanted = {"train": "training reads", config.evaluation.split: "evaluation.split names"}
    if config.schedule.trim_steps:
        wanted["calibration"] = "the speed dial is measured on"
    for split, reason in wanted.items():
        if not sizes.get(split):
            filled = ", ".join(name for name, size in sizes.items() if size)
            raise ConfigError(f"{config.data.dataset} has no examples in '{split}', which {reason}; it has: {filled}")
    if config.data.batch_size > sizes["train"]:
        raise ConfigError(
            f"data.batch_size is {config.data.batch_size}, more than the {sizes['train']} training examples of "
            f"{config.data.dataset}; take {sizes['train']} at most"
        )
