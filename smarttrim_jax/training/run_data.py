"""The data of a run: prepared once for all its processes, and the settings that are left to it."""

import dataclasses

from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset, prepare
from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.training.distributed import first_alone, same_everywhere
from smarttrim_jax.training.experiment import ExperimentConfig


def prepare_everywhere(config: DataConfig) -> Dataset:
    """Opens the data set on all processes; process 0 prepares it first.

    Where processes do not share `data_dir`, each machine prepares its own, from the same source.

    Args:
        config: Settings of the data.

    Returns:
        The data set, the same on all processes.

    Raises:
        DataError: It cannot be prepared (see `prepare`), or the machines have different data.
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
        dataset: The data set that it names, prepared.

    Returns:
        The configuration with its vocabulary, number of answers and images of an example as the data has them.

    Raises:
        ConfigError: The model's vocabulary, answers or images do not fit the data.
    """
    model, text, data = config.model, config.model.text, config.data
    sizes: list[tuple[str, int, int]] = [
        ("model.text.vocab_size", text.vocab_size, dataset.text.vocab_size),
        ("model.text.pad_id", text.pad_id, dataset.text.pad_id),
        ("data.example_images", data.example_images, dataset.num_images),
    ]
    needs_answers = isinstance(model, MeterConfig) or model.task in ("vqa", "nlvr2")
    if needs_answers and not dataset.answer_names:
        raise ConfigError(
            f"task '{config.task}' is trained on answers, but {data.dataset} has {dataset.kind}; choose other data"
        )
    if isinstance(model, MeterConfig):
        sizes += [
            (f"model.heads['{head.name}'].outputs", head.outputs, dataset.num_answers)
            for head in model.heads
            if head.name == config.task
        ]
    for name, have, need in sizes:
        from_data = name.endswith(("vocab_size", "outputs", "example_images")) and have == 0
        if have != need and not from_data:
            raise ConfigError(f"{name} is {have}, but {data.dataset} needs {need}")
    if data.images > dataset.num_images:
        raise ConfigError(f"data.images is {data.images}, which cannot be made of {dataset.num_images} image(s)")
    if model.images != (data.images or dataset.num_images):
        raise ConfigError(
            f"the model takes {model.images} images, but {data.dataset} gives {data.images or dataset.num_images}; "
            "change model.images, or lay images side by side with data.images"
        )
    if isinstance(model, MeterConfig):
        heads = tuple(
            dataclasses.replace(head, outputs=dataset.num_answers) if head.name == config.task else head
            for head in model.heads
        )
        model = dataclasses.replace(model, heads=heads)
    elif model.task == "nlvr2" and dataset.num_answers != 2:
        raise ConfigError(f"BLIP's nlvr2 knows false and true, but {data.dataset} has {dataset.num_answers} answers")
    text = dataclasses.replace(text, vocab_size=dataset.text.vocab_size)
    return dataclasses.replace(
        config,
        model=dataclasses.replace(model, text=text),
        data=dataclasses.replace(data, example_images=dataset.num_images, fingerprint=dataset.fingerprint),
    )
