"""Reads and writes a METER as files of the official code."""

import pathlib
from typing import Any

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.models.functional import Params
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.pretrained.files import Path, read_weights
from smarttrim_jax.pretrained.meter.official import (
    fill_from_official,
    heads_in,
    meter_weights,
    new_params,
    to_official,
)
from smarttrim_jax.pretrained.meter.sizes import MeterOverrides, infer_config
from smarttrim_jax.pretrained.meter.table import HEADS
from smarttrim_jax.pretrained.paired_files import read_configuration, with_beside, write_pair
from smarttrim_jax.pretrained.sizes import parse_overrides

# Heads of pre-training: a file with these alone belongs to no task, and serves all tasks.
PRETRAINING = ("itm", "mlm")


def write_meter(path: Path, config: MeterConfig, params: Params) -> list[pathlib.Path]:
    """Writes a METER under its official names, and its trimmers to a second file; see `write_pair`.

    Args:
        path: Path of the file, ending in `.safetensors`.
        config: Configuration of the model.
        params: Parameters of the model.

    Returns:
        Paths of the files written.

    Raises:
        CheckpointError: The official METER lacks some of the parameters, or a file cannot be written.
    """
    return write_pair(path, config, *to_official(params))


def read_official(path: Path, **overrides: Any) -> tuple[MeterConfig, Params]:
    """Reads a model from an official METER file.

    Args:
        path: Path of a file of the official code, or of `write_official`, which also holds the configuration.
        **overrides: Fields of `MeterOverrides`.

    Returns:
        The configuration and float32 parameters, as `from_official` returns them; trimmers are read from the file
        beside it, if there is one and the model has trimmers.

    Raises:
        CheckpointError: A file cannot be read, or weights do not fit.
        ConfigError: An override is unknown or does not fit.
    """
    tensors = meter_weights(read_weights(path))
    known = read_configuration(path, MeterConfig)
    config = infer_config(tensors, parse_overrides(MeterOverrides, overrides), known)
    return config, with_beside(path, new_params(tensors, config))


def fill_meter_from_file(path: Path, config: MeterConfig, params: Params, task: str) -> Params:
    """Fills a model's parameters from an official file and from the file of trimmers beside it.

    Args:
        path: Path of a file that `read_official` reads.
        config: Configuration of the model.
        params: Parameters of the model; those that the files do not hold are kept.
        task: Name of the head that will be trained.

    Returns:
        The parameters with those of the files filled in.

    Raises:
        CheckpointError: A file cannot be read, or is of another task or another model.
    """
    tensors = meter_weights(read_weights(path))
    held = heads_in(tensors)
    tuned = [name for name in held if name not in PRETRAINING]
    if tuned and task in HEADS and task not in held:
        raise CheckpointError(
            f"'{path}' is of another task: it has the heads {', '.join(tuned)}, and this run trains '{task}'; "
            "use a file of this task or of pre-training"
        )
    return with_beside(path, fill_from_official(config, params, tensors))
