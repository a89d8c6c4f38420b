"""Reads and writes a BLIP as files of the official code or of Hugging Face's transformers."""

import json
import pathlib
from typing import Any

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.models.blip import BlipConfig
from smarttrim_jax.models.blip.config import TaskName
from smarttrim_jax.models.functional import Params
from smarttrim_jax.pretrained.blip.official import blip_weights, fill_blip, new_blip, to_blip
from smarttrim_jax.pretrained.blip.table import HUGGING_FACE, OFFICIAL, Naming
from smarttrim_jax.pretrained.files import Path, read_weights
from smarttrim_jax.pretrained.hub import blip_hub, config_path, is_blip, read_hub
from smarttrim_jax.pretrained.paired_files import read_configuration, with_beside, write_pair

BESIDE = HUGGING_FACE.nameless


def read_blip(path: Path, *, task: TaskName | None = None, **overrides: Any) -> tuple[BlipConfig, Params]:
    """Reads a model from a BLIP file with the official code's names or Hugging Face's.

    Args:
        path: Path of the file. The configuration is taken from its metadata if `write_official` or
            `write_huggingface` wrote it, or else from Hugging Face's config.json beside it, if there is one.
        task: What the model shall do; None takes what a fine-tuned checkpoint does.
        **overrides: Fields of `BlipOverrides`.

    Returns:
        The configuration and float32 parameters, as `from_official_blip` returns them; trimmers are read from the
        file beside it, if there is one and the model has trimmers.

    Raises:
        CheckpointError: A file cannot be read, or weights do not fit.
        ConfigError: An override is unknown or does not fit.
    """
    known, tensors = read_configuration(path, BlipConfig), blip_weights(read_weights(path))
    hub = read_hub(path) if known is None else None
    config, params = new_blip(tensors, task, overrides, known=known, hub=hub)
    return config, with_beside(path, params, BESIDE)


def fill_blip_from_file(path: Path, config: BlipConfig, params: Params, task: str) -> Params:
    """Fills a model's parameters from a BLIP file and from the file of trimmers beside it.

    Args:
        path: Path of a file that `read_blip` reads.
        config: Configuration of the model.
        params: Parameters of the model; those that the files do not hold are kept.
        task: Not used: the configuration holds the task.

    Returns:
        The parameters with those of the files filled in.

    Raises:
        CheckpointError: A file cannot be read, or is of another task or another model.
    """
    return with_beside(path, fill_blip(config, params, blip_weights(read_weights(path))), BESIDE)


def write_blip(path: Path, config: BlipConfig, params: Params, naming: Naming = OFFICIAL) -> list[pathlib.Path]:
    """Writes a BLIP under a family's names, and what the family does not have to a second file; see `write_pair`.

    Args:
        path: Path of the file, ending in `.safetensors`.
        config: Configuration of the model.
        params: Parameters of the model.
        naming: The family of names.

    Returns:
        Paths of the files written.

    Raises:
        CheckpointError: The family's models lack some of the parameters, or a file cannot be written.
        ConfigError: The family has no counterpart of the model.
    """
    return write_pair(path, config, *to_blip(config, params, naming))


def write_blip_huggingface(path: Path, config: BlipConfig, params: Params) -> list[pathlib.Path]:
    """Writes a BLIP as Hugging Face's transformers reads it; see `backbones.write_huggingface`.

    Args:
        path: Path of the weights, ending in `.safetensors`.
        config: Configuration of the model.
        params: Parameters of the model.

    Returns:
        Paths of the files written.

    Raises:
        CheckpointError: transformers' models lack some of the parameters, or a file cannot be written.
        ConfigError: transformers has no such model.
    """
    written = write_blip(path, config, params, HUGGING_FACE)
    beside = config_path(path)
    if beside.is_file() and not is_blip(read_hub(path)):
        return written
    try:
        beside.write_text(json.dumps(blip_hub(config), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"cannot write '{beside}' ({error}); choose a writable place") from None
    return [*written, beside]
