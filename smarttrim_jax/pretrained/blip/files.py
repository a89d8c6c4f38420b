"""A BLIP as files that the official code or Hugging Face's transformers can read, and such files as a BLIP."""

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
    """A model from a BLIP file by the official code's names or Hugging Face's.

    Args:
        path: of the file. The configuration that we wrote into it counts, or else Hugging Face's config.json beside
            it, if there is one.
        task: as in `from_official_blip`.
        **overrides: fields of `BlipOverrides`.

    Returns:
        As `from_official_blip`; with the trimmers of the file beside it, if there is one and the model has trimmers.

    Raises:
        CheckpointError: a file that cannot be read, or weights that do not fit.
        ConfigError: an unknown override, or one that does not fit.
    """
    known, tensors = read_configuration(path, BlipConfig), blip_weights(read_weights(path))
    hub = read_hub(path) if known is None else None
    config, params = new_blip(tensors, task, overrides, known=known, hub=hub)
    return config, with_beside(path, params, BESIDE)


def fill_blip_from_file(path: Path, config: BlipConfig, params: Params, task: str) -> Params:
    """Parameters of a given model from a BLIP file and the trimmers beside it.

    Args:
        path: As in `read_blip`.
        config: Configuration of the model.
        params: Parameters of the model; those that the files do not hold stay.
        task: The task that will be trained; a BLIP's configuration says it.

    Returns:
        The parameters with the file's in their places.

    Raises:
        CheckpointError: A file that cannot be read, of another task, or of another model.
    """
    return with_beside(path, fill_blip(config, params, blip_weights(read_weights(path))), BESIDE)


def write_blip(path: Path, config: BlipConfig, params: Params, naming: Naming = OFFICIAL) -> list[pathlib.Path]:
    """Writes a BLIP under a family's names, and beside it what the family does not have; see `write_pair`."""
    return write_pair(path, config, *to_blip(config, params, naming))


def write_blip_huggingface(path: Path, config: BlipConfig, params: Params) -> list[pathlib.Path]:
    """Writes a BLIP as Hugging Face's transformers reads it; see `backbones.write_huggingface`."""
    written = write_blip(path, config, params, HUGGING_FACE)
    beside = config_path(path)
    if beside.is_file() and not is_blip(read_hub(path)):
        return written
    try:
        beside.write_text(json.dumps(blip_hub(config), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"cannot write '{beside}' ({error}); choose a writable place") from None
    return [*written, beside]
