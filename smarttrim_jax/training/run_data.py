"""The data of a run: prepared once for all processes, and the settings that depend on it."""

import dataclasses

from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset, prepare
from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.evaluation.rehearsal import rehearse
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.config import DatasetSizes
from smarttrim_jax.processes import first_alone, same_everywhere
from smarttrim_jax.tasks import TASKS, make_task
from smarttrim_jax.training.writers import check_writers


def prepare_everywhere(config: DataConfig) -> Dataset:
    """Opens the data set on all processes; process 0 prepares it first.

    Where processes do not share `data_dir`, each machine prepares its own, from the same source.

    Args:
        config: Settings of the data.

    Returns:
        The data set, the same on all processes.

    Raises:
        DataError: The data cannot be prepared (see `data.dataset.prepare`), or the machines have different data.
    """
    dataset = first_alone(lambda: prepare(config))
    if not same_everywhere(int(dataset.fingerprint[:8], base=16)):
        raise DataError(
            f"the {config.dataset} in '{config.data_dir}' is not the same on all machines; "
            "share the folder, or clear it and prepare it from the same source"
        )
    return dataset


def fit_to_data(config: ExperimentConfig, dataset: Dataset) -> ExperimentConfig:
    """Resolves every setting that is left to the data, and checks that the others fit it.

    Args:
        config: Run configuration.
        dataset: Prepared data set that the configuration names.

    Returns:
        The configuration with vocabulary size, number of answers, images per example and fingerprint taken from the
        data.

    Raises:
        ConfigError: The task, or the model's vocabulary, answers or images, do not fit the data.
    """
    kind = TASKS.find(config.model.tasks[config.task])
    if kind.reads_answers and not dataset.answer_names:
        raise ConfigError(
            f"task '{config.task}' is trained on answers, but {config.data.dataset} has {dataset.kind}; choose other "
            "data"
        )
    data = config.data
    if data.example_images not in (0, dataset.num_images):
        raise ConfigError(
            f"data.example_images is {data.example_images}, but {data.dataset} needs {dataset.num_images}"
        )
    if data.images > dataset.num_images:
        raise ConfigError(f"data.images is {data.images}, which cannot be made of {dataset.num_images} image(s)")
    images = data.images or dataset.num_images
    if config.model.images != images:
        raise ConfigError(
            f"the model takes {config.model.images} images, but {data.dataset} gives {images}; "
            "change model.images, or lay images side by side with data.images"
        )
    sizes = DatasetSizes(data.dataset, dataset.text.vocab_size, dataset.text.pad_id, dataset.num_answers)
    return dataclasses.replace(
        config,
        model=config.model.fit_to(sizes, config.task),
        data=dataclasses.replace(data, example_images=dataset.num_images, fingerprint=dataset.fingerprint),
    )


def check_run(config: ExperimentConfig, dataset: Dataset) -> None:
    """Checks that training, calibration and evaluation can all be done, whatever the devices.

    Args:
        config: Run configuration, all sizes resolved.
        dataset: Prepared data set of the run.

    Raises:
        ConfigError: A setting cannot work; the message names the first, and what would work.
    """
    _check_splits(config, dataset)
    check_writers(config.schedule.writers)
    task = make_task(config, dataset.language)
    if config.evaluation.metrics:
        rehearse(task, dataset)


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
