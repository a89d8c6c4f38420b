"""Metrics at Weights & Biases, where its package `wandb` is installed."""

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
    """Imports the package `wandb`.

    Returns:
        The module.

    Raises:
        ConfigError: The package cannot be imported.
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

    The folder stores the service's id of the run, so that a resumed run continues it. The service accepts no step
    twice: steps that an interrupted attempt has logged stay as they are.

    Args:
        workdir: Folder of the run, on a disk or in a bucket.
        start_step: Step that the run starts or resumes from; at 0 the run gets a new id.

    Raises:
        ConfigError: The package is not installed, or a run cannot be started.
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
        """Logs the metrics of a step, unless the service has later ones already.

        Args:
            step: Number of steps done.
            values: Metrics by name.
        """
        if step >= self._first:
            self._run.log(dict(values), step=step)

    def flush(self) -> None:
        """Does nothing: the package sends metrics by itself."""

    def close(self) -> None:
        """Waits until everything is sent."""
        self._run.finish()


def _known_name(workdir: epath.Path) -> str:
    """The service's id of the folder's run; empty where there is none."""
    try:
        name = read_json(workdir / FILE_NAME, "").get("id", "")
    except CheckpointError:
        return ""
    return name if isinstance(name, str) else ""


def _known_config(workdir: epath.Path) -> dict[str, Any]:
    """Configuration of the folder's run; empty where there is none."""
    try:
        return read_json(workdir / "config.json", "")
    except CheckpointError:
        return {}
