"""Weights & Biases, where its package `wandb` is installed."""

import importlib
import os
import uuid
from collections.abc import Mapping
from typing import Any

from etils import epath

from smarttrim_jax.errors import CheckpointError, ConfigError, reason
from smarttrim_jax.small_files import in_bucket, read_json, write_json

FILE_NAME = "wandb.json"
PROJECT = "smarttrim_jax"


def imported_wandb() -> Any:
    """The package.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module("wandb")
    except ImportError as error:
        raise ConfigError(
            f"schedule.writers names 'wandb', which cannot be imported ({reason(error)}); pip install wandb, or "
            "leave it out"
        ) from None


class WandbWriter:
    """Logs to the project that WANDB_PROJECT names, by default `smarttrim_jax`.

    The folder keeps the name of the run there, so that a resumed run goes on with it. The service takes no step
    twice: those of an earlier attempt stay as they are.

    Args:
        workdir: The run's folder, on a disk or in a bucket.
        start_step: The step the run starts or resumes from; a run from the first step has a new name.

    Raises:
        ConfigError: The package is not installed, or cannot be started.
        OSError: The folder cannot be written.
    """

    def __init__(self, workdir: epath.Path, start_step: int) -> None:
        wandb = imported_wandb()
        name = _known_name(workdir) if start_step else ""
        if not name:
            name = uuid.uuid4().hex
            write_json(workdir / FILE_NAME, {"id": name})
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                id=name,
                name=workdir.name,
                resume="allow",
                config=_known_config(workdir),
                allow_val_change=True,
                **({} if in_bucket(workdir) else {"dir": str(workdir)}),
            )
        except Exception as error:
            raise ConfigError(
                f"wandb cannot be started ({type(error).__name__}: {reason(error)}); call `wandb login`, set "
                "WANDB_MODE=offline, or leave it out of schedule.writers"
            ) from error
        self._first = self._run.step

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the figures of a step."""
        if step >= self._first:
            self._run.log(dict(values), step=step)

    def flush(self) -> None:
        """Does nothing: the package sends what it has by itself."""

    def close(self) -> None:
        """Waits until all is sent."""
        self._run.finish()


def _known_name(workdir: epath.Path) -> str:
    """The name of the folder's run in the service; empty where there is none."""
    try:
        name = read_json(workdir / FILE_NAME, "").get("id", "")
    except CheckpointError:
        return ""
    return name if isinstance(name, str) else ""


def _known_config(workdir: epath.Path) -> dict[str, Any]:
    """The configuration of the folder's run; empty where there is none."""
    try:
        return read_json(workdir / "config.json", "")
    except CheckpointError:
        return {}
