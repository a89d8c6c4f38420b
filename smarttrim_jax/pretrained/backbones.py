"""The official files of every backbone that has any."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.models.config import ModelConfig
from smarttrim_jax.models.functional import Params
from smarttrim_jax.pretrained.blip.encoders import with_blip_encoders
from smarttrim_jax.pretrained.blip.files import fill_blip_from_file, write_blip, write_blip_huggingface
from smarttrim_jax.pretrained.encoders import with_encoders
from smarttrim_jax.pretrained.files import Path
from smarttrim_jax.pretrained.hub import BLIP_MODELS
from smarttrim_jax.pretrained.meter.files import fill_meter_from_file, write_meter
from smarttrim_jax.registry import Registry


@dataclasses.dataclass(frozen=True)
class OfficialFiles:
    """How a backbone is read from and written to the files of others.

    Attributes:
        fill: (path, config, params, task) to parameters with those of an official file in their places.
        write: (path, config, params) to the files written, by the official names.
        write_huggingface: The same for Hugging Face's transformers; None where it has no such model.
        with_encoders: (config, params, image=, text=) to parameters with encoders of others in their places.
        huggingface_models: The names of transformers' classes, by task.
    """

    fill: Callable[..., Params]
    write: Callable[..., list[pathlib.Path]]
    write_huggingface: Callable[..., list[pathlib.Path]] | None = None
    with_encoders: Callable[..., Params] | None = None
    huggingface_models: Mapping[str, str] = dataclasses.field(default_factory=dict)


OFFICIAL_FILES: Registry[OfficialFiles] = Registry(
    "backbone with official files",
    {
        "meter": OfficialFiles(fill_meter_from_file, write_meter, with_encoders=with_encoders),
        "blip": OfficialFiles(
            fill_blip_from_file, write_blip, write_blip_huggingface, with_blip_encoders, BLIP_MODELS
        ),
    },
)
"""By the name of the backbone; a backbone of the user's own is registered here too, if it has any."""


def fill_from_file(path: Path, config: ModelConfig, params: Params, task: str) -> Params:
    """Parameters of a given model from an official file and the trimmers beside it.

    Args:
        path: Path of a file of the official code, of Hugging Face (BLIP), or of `write_official`.
        config: Configuration of the model.
        params: Parameters of the model; those that the files do not hold stay.
        task: The task that will be trained.

    Returns:
        The parameters with the file's in their places.

    Raises:
        CheckpointError: A file that cannot be read, of another task, or of another model.
        ConfigError: A backbone without official files.
    """
    return files_of(config).fill(path, config, params, task)


def write_official(path: Path, config: ModelConfig, params: Params) -> list[pathlib.Path]:
    """Writes a model under its official names, and its trimmers beside it.

    Args:
        path: Path of the file, ending in `.safetensors`.
        config: Configuration of the model.
        params: Parameters of the model.

    Returns:
        The files written.

    Raises:
        CheckpointError: The official model lacks some of the parameters, or a file cannot be written.
        ConfigError: A backbone without official files.
    """
    return files_of(config).write(path, config, params)


def write_huggingface(path: Path, config: ModelConfig, params: Params) -> list[pathlib.Path]:
    """Writes a model as Hugging Face's transformers reads it: `from_pretrained(FOLDER)` of FOLDER/model.safetensors.

    Args:
        path: Path of the weights, ending in `.safetensors`; the trimmers lie beside them, and a config.json unless
            another model's or program's is there.
        config: Configuration of the model.
        params: Parameters of the model.

    Returns:
        The files written.

    Raises:
        CheckpointError: transformers' models lack some of the parameters, or a file cannot be written.
        ConfigError: A model that transformers does not have.
    """
    write = files_of(config).write_huggingface
    if write is None:
        name = config.backbone.upper()
        raise ConfigError(f"transformers has no {name}; write it under the official names")
    return write(path, config, params)


def encoders_filled(config: ModelConfig, params: Params, *, image: Any, text: Any) -> Params:
    """Parameters of a model with encoders of others in place of its own.

    Args:
        config: Configuration of the model.
        params: Parameters of the model; not changed.
        image: Weights of the image encoder, or their file.
        text: Weights of the text encoder, or their file.

    Returns:
        The parameters with the encoders' in their places.

    Raises:
        CheckpointError: Weights that do not fill an encoder.
        ConfigError: A backbone without such encoders.
    """
    fill = files_of(config).with_encoders
    if fill is None:
        raise ConfigError(f"the encoders of a {config.backbone} cannot be taken from files of others")
    return fill(config, params, image=image, text=text)


def files_of(config: ModelConfig) -> OfficialFiles:
    """The official files of a configuration's backbone.

    Args:
        config: Configuration of the model.

    Raises:
        ConfigError: A backbone without official files.
    """
    return OFFICIAL_FILES.find(config.backbone)
