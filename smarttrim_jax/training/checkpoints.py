"""A run's checkpoints on Orbax: saved in the background, taken up again exactly where they were left."""

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from smarttrim_jax.errors import CheckpointError, ConfigError, TrainingError
from smarttrim_jax.training.checkpoint_reading import (
    DamagedCheckpointError,
    absolute_path,
    check_same_shapes,
    contents,
    load,
    reason,
    saved_steps,
    split_params,
)

_log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run.

    A checkpoint is written under a temporary name and renamed when complete, so that an interrupted save is
    never taken for a good one.

    Args:
        directory: where they lie; created if missing.
        every: steps between two saves.
        keep: how many of the latest to keep.

    Raises:
        CheckpointError: the directory cannot be written.
        ConfigError: `every` or `keep` is below 1.
    """

    def __init__(self, directory: str | os.PathLike[str], every: int, keep: int) -> None:
        if every < 1 or keep < 1:
            raise ConfigError(f"checkpoints need every >= 1 and keep >= 1, not every={every}, keep={keep}")
        root = absolute_path(directory)
        self.directory = str(root)
        self.every = every
        try:
            root.mkdir(parents=True, exist_ok=True)
            probe = root / f".writable-{jax.process_index()}"
            probe.write_text("")
            # Buckets have no empty folders: it is listed while it holds the probe.
            remains = [entry.name for entry in root.iterdir() if ".orbax-checkpoint-tmp" in entry.name]
            probe.unlink()
            if remains:
                _log.warning("%s: removing saves that were interrupted: %s", self.directory, ", ".join(remains))
            self._orbax = ocp.training.Checkpointer(
                self.directory,
                preservation_policy=ocp.training.preservation_policies.LatestN(keep),
                cleanup_tmp_directories=True,
            )
        except OSError as error:
            raise CheckpointError(
                f"cannot write checkpoints to '{self.directory}': {error.strerror or error}"
            ) from None

    @property
    def latest(self) -> str | None:
        """The path of the last complete checkpoint."""
        return next(reversed(saved_steps(self.directory).values()), None)

    def save(self, step: int, state: dict[str, Any], data_state: Any, metadata: dict[str, Any]) -> None:
        """Starts to save in the background; `state` may be donated or changed as soon as this returns.

        Args:
            step: steps done.
            state: dict of trees of arrays, among them `params`.
            data_state: JSON-ready position of the data, from an iterator's `get_state()`; processes read in
                step, so that the position of process 0 serves all.
            metadata: JSON-ready description of the run.

        Raises:
            TrainingError: this save or the one before it failed, for example on a full disk.
        """
        with self._explained():
            self._check_room(state)
            # A step already there is one that `restore_latest` could not read.
            self._orbax.save_checkpointables_async(
                step,
                split_params(state),
                force=True,
                overwrite=True,
                custom_metadata={"data_state": data_state, "metadata": metadata},
            )

    def restore_latest(self, abstract_state: dict[str, Any]) -> tuple[int, dict[str, Any], Any] | None:
        """The latest checkpoint that can be read.

        Args:
            abstract_state: the state's arrays, or `jax.ShapeDtypeStruct`s; their shardings are followed.

        Returns:
            The step, the state (bit for bit) and the data's position; None where nothing has been saved.

        Raises:
            CheckpointError: shapes or names differ, or every checkpoint is damaged.
        """
        self.wait()
        first_error: DamagedCheckpointError | None = None
        for step, path in reversed(saved_steps(self.directory).items()):
            try:
                shapes, beside = contents(path)
                check_same_shapes(path, shapes, abstract_state)
                state = load(path, jax.tree.map(_target, abstract_state))
            except DamagedCheckpointError as error:
                _log.warning("%s; trying the checkpoint before it", error)
                first_error = first_error or error
            else:
                return step, {name: state[name] for name in abstract_state}, beside["data_state"]
        if first_error is not None:
            raise first_error
        return None

    def wait(self) -> None:
        """Waits for the save in progress.

        Raises:
            TrainingError: it failed.
        """
        with self._explained():
            self._orbax.wait()

    def close(self) -> None:
        """Waits for the save in progress and lets go of the directory.

        Raises:
            TrainingError: the save failed.
        """
        with self._explained():
            self._orbax.close()

    def _check_room(self, state: dict[str, Any]) -> None:
        """Whether the disk holds another checkpoint, judged by process 0 for all.

        Where one process alone meets a full disk while it writes, the others wait for it for many minutes.
        """
        if jax.process_count() == 1 or "://" in self.directory:
            return
        self._orbax.wait()  # for the save before, whose bytes count
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        has_room = shutil.disk_usage(self.directory).free >= needed
        if not multihost_utils.broadcast_one_to_all(np.bool_(has_room)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Says which checkpoint is still good when a save fails."""
        try:
            yield
        except Exception as error:  # whatever the background writer met: Orbax raises many types here
            raise TrainingError(
                f"a checkpoint could not be written to '{self.directory}' ({reason(error)}); "
                f"the last good one is {self.latest or 'none'}; mend this and run the same command again"
            ) from error


def _target(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape, type and place of an array; the default device where none is given."""
    sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
