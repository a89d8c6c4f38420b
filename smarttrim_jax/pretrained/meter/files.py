"""A METER as files that the official code can read, and such files as a METER."""

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

# Heads of pre-training: a file with these alone is of no task, and serves all.
PRETRAINING = ("itm", "mlm")


def write_meter(path: Path, config: MeterConfig, params: Params) -> list[pathlib.Path]:
    """Writes a METER under its official names, and its trimmers beside it; see `write_pair`."""
    return write_pair(path, config, *to_official(params))


def read_official(path: Path, **overrides: Any) -> tuple[MeterConfig, Params]:
    """A model from an official METER file.

    Args:
        path: of a file of the official code, or of `write_official`, which also tells its configuration.
        **overrides: fields of `MeterOverrides`.

    Returns:
        As `from_official`; with the trimmers of the file beside it, if there is one and the model has trimmers.

    Raises:
        CheckpointError: a file that cannot be read, or weights that do not fit.
        ConfigError: an unknown override, or one that does not fit.
    """
    tensors = meter_weights(read_weights(path))
    known = read_configuration(path, MeterConfig)
    config = infer_config(tensors, parse_overrides(MeterOverrides, overrides), known)
    return config, with_beside(path, new_params(tensors, config))


def fill_meter_from_file(path: Path, config: MeterConfig, params: Params, task: str) -> Params:
    """Parameters of a given model from an official file and the trimmers beside it.

    Args:
        path: As in `read_official`.
        config: Configuration of the model.
        params: Parameters of the model; those that the files do not hold stay.
        task: The head that will be trained.

    Returns:
        The parameters with the file's in their places.

    Raises:
        CheckpointError: A file that cannot be read, of another task, or of another model.
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
