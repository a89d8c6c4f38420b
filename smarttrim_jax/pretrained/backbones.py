"""The official files of each backbone that has any."""

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
    """The functions that read a backbone from, and write it to, files of other programs.

    Attributes:
        fill: Function of (path, config, params, task) that returns the parameters with those of an official file
            filled in.
        write: Function of (path, config, params) that writes a file with the official names and returns the files
            written.
        write_huggingface: Like `write`, for Hugging Face's transformers; None if it has no such model.
        with_encoders: Function of (config, params, image=, text=) that returns the parameters with pretrained
            encoders filled in; None if the backbone has none.
        huggingface_models: Names of transformers' classes, by task.
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
"""The official files by the name of the backbone. Register a backbone of your own here too, if it has any."""


def fill_from_file(path: Path, config: ModelConfig, params: Params, task: str) -> Params:
    """Fills a model's parameters from an official file and from the file of trimmers beside it.

    Args:
        path: Path of a file of the official code, of Hugging Face (BLIP), or of `write_official`.
        config: Configuration of the model.
        params: Parameters of the model; those that the files do not hold are kept.
        task: Name of the task that will be trained.

    Returns:
        The parameters with those of the files filled in.

    Raises:
        CheckpointError: A file cannot be read, or is of another task or another model.
        ConfigError: The backbone has no official files.
    """
    return files_of(config).fill(path, config, params, task)


def write_official(path: Path, config: ModelConfig, params: Params) -> list[pathlib.Path]:
    """Writes a model under its official names, and its trimmers to a second file beside it.

    Args:
        path: Path of the file, ending in `.safetensors`.
        config: Configuration of the model.
        params: Parameters of the model.

    Returns:
        Paths of the files written.

    Raises:
        CheckpointError: The official model lacks some of the parameters, or a file cannot be written.
        ConfigError: The backbone has no official files.
    """
    return files_of(config).write(path, config, params)


def write_huggingface(path: Path, config: ModelConfig, params: Params) -> list[pathlib.Path]:
    """Writes a model as Hugging Face's transformers reads it: `from_pretrained(FOLDER)` of FOLDER/model.safetensors.

    Args:
        path: Path of the weights, ending in `.safetensors`. The trimmers are written beside them, and a config.json
            unless one of another model or program is there.
        config: Configuration of the model.
        params: Parameters of the model.

    Returns:
        Paths of the files written.

    Raises:
        CheckpointError: transformers' models lack some of the parameters, or a file cannot be written.
        ConfigError: transformers has no such model.
    """
    write = files_of(config).write_huggingface
    if write is None:
        name = config.backbone.upper()
        raise ConfigError(f"transformers has no {name}; write it under the official names")
    return write(path, config, params)


def encoders_filled(config: ModelConfig, params: Params, *, image: Any, text: Any) -> Params:
    """Fills a model's encoders from weights of pretrained encoders.

    Args:
        config: Configuration of the model.
        params: Parameters of the model; not changed.
        image: Weights of the image encoder, or the path of their file.
        text: Weights of the text encoder, or the path of their file.

    Returns:
        The parameters with those of the encoders filled in.

    Raises:
        CheckpointError: The weights do not fill an encoder.
        ConfigError: The backbone has no such encoders.
    """
    fill = files_of(config).with_encoders
    if fill is None:
        raise ConfigError(f"the encoders of a {config.backbone} cannot be taken from files of others")
    return fill(config, params, image=image, text=text)


def files_of(config: ModelConfig) -> OfficialFiles:
    """Returns the official files of a configuration's backbone.

    Args:
        config: Configuration of the model.

    Returns:
        The functions that read and write the files.

    Raises:
        ConfigError: The backbone has no official files.
    """
    return OFFICIAL_FILES.find(config.backbone)
