"""A run's checkpoints on Orbax: saved in the background, and restored exactly as they were saved."""

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from smarttrim_jax.errors import CheckpointError, ConfigError, TrainingError, reason
from smarttrim_jax.processes import on_all
from smarttrim_jax.small_files import in_bucket
from smarttrim_jax.training.checkpoint_files import list_files
from smarttrim_jax.training.checkpoint_reading import (
    DamagedCheckpointError,
    absolute_path,
    check_arrays,
    check_same_shapes,
    contents,
    listing,
    load,
    saved_steps,
    sealed,
    split_params,
    warn_of_changed_files,
)
from smarttrim_jax.training.checkpoint_remains import incomplete_saves, remove_half_deleted
from smarttrim_jax.training.digests import not_finite, summarize

_log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run.

    A checkpoint is written under a temporary name and renamed when it is complete, so that an interrupted save is
    never mistaken for a complete one.

    Args:
        directory: Folder of the checkpoints; created if missing.
        every: Steps between two saves.
        keep: Number of latest checkpoints to keep.
        before_save: Called before every save; an exception that it raises prevents the save.

    Attributes:
        directory: Absolute path of the folder.
        every: Steps between two saves.

    Raises:
        CheckpointError: The directory cannot be written.
        ConfigError: `every` or `keep` is below 1.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        every: int,
        keep: int,
        before_save: Callable[[], None] = lambda: None,
    ) -> None:
        if every < 1 or keep < 1:
            raise ConfigError(f"checkpoints need every >= 1 and keep >= 1, not every={every}, keep={keep}")
        root = absolute_path(directory)
        self.directory = str(root)
        self.every = every
        self._before_save = before_save
        self._saving = -1
        # Steps of checkpoints that could not be read.
        self._damaged: set[int] = set()
        try:
            root.mkdir(parents=True, exist_ok=True)
            probe = root / f".writable-{jax.process_index()}"
            probe.write_text("")
            # Buckets have no empty folders, so the folder is listed while it holds the probe.
            remains = [entry.name for entry in incomplete_saves(self.directory)]
            probe.unlink()
            if remains:
                _log.warning("%s: removing saves that were interrupted: %s", self.directory, ", ".join(remains))
            if jax.process_index() == 0:
                remove_half_deleted(self.directory)
            # Orbax waits for all processes before it lists what is there.
            self._orbax = ocp.training.Checkpointer(
                self.directory,
                context=self._context(),
                preservation_policy=_LatestGood(keep, self._damaged),
                cleanup_tmp_directories=True,
                step_name_format=_ReadableSteps(),
            )
        except OSError as error:
            raise CheckpointError(
                f"cannot write checkpoints to '{self.directory}': {error.strerror or error}"
            ) from None

    @property
    def latest(self) -> str | None:
        """Path of the last good checkpoint: complete, finite, and not known to be damaged. None if there is none."""
        good = [path for step, path in saved_steps(self.directory).items() if step not in self._damaged]
        return good[-1] if good else None

    def save(self, step: int, state: dict[str, Any], data_state: Any, metadata: dict[str, Any]) -> None:
        """Starts to save in the background; `state` may be donated or changed as soon as this returns.

        Args:
            step: Number of steps done.
            state: Dict of trees of arrays, with an entry `params`.
            data_state: JSON-ready position of the data, from an iterator's `get_state()`. All processes read the same
                number of batches, so the position of process 0 is valid for all.
            metadata: JSON-ready description of the run.

        Raises:
            TrainingError: The state is not finite, or this save or the previous one failed, for example on a full
                disk.
        """
        self._before_save()
        summaries = summarize(state)
        if bad := not_finite(summaries):
            self.wait()
            raise TrainingError(
                f"step {step}: not finite after the update: {listing(bad)}; the last good checkpoint is "
                f"{self.latest or 'none'}; lower the learning rate or clip the gradients"
            )
        with self._explained():
            self._check_room(state)
            self._orbax.wait()
            self._saving = step
            self._damaged.discard(step)
            # A checkpoint of this step exists only if `restore_latest` could not read it; it is overwritten.
            self._orbax.save_checkpointables_async(
                step,
                split_params(state),
                force=True,
                overwrite=True,
                custom_metadata=sealed(data_state, metadata, summaries),
            )

    def restore_latest(self, abstract_state: dict[str, Any]) -> tuple[int, dict[str, Any], Any] | None:
        """Restores the latest checkpoint that can be read.

        Args:
            abstract_state: Arrays of the state, or `jax.ShapeDtypeStruct`s; the restored arrays get their shardings.

        Returns:
            The step, the state (bit for bit as saved) and the position of the data; None where nothing has been
            saved.

        Raises:
            CheckpointError: Names, shapes or dtypes differ from those of the state, or every checkpoint is damaged.
        """
        self.wait()
        first_error: DamagedCheckpointError | None = None
        for step, path in reversed(saved_steps(self.directory).items()):
            try:
                state, data_state = _read(path, abstract_state)
            except DamagedCheckpointError as error:
                _log.warning("%s; trying the checkpoint before it", error)
                self._damaged.add(step)
                first_error = first_error or error
            else:
                if jax.process_index() == 0:
                    warn_of_changed_files(path)
                return step, state, data_state
        if first_error is not None:
            raise first_error
        return None

    def wait(self) -> None:
        """Waits for the save in progress.

        Raises:
            TrainingError: The save failed.
        """
        with self._explained():
            self._orbax.wait()

    def close(self) -> None:
        """Waits for the save in progress and releases the directory.

        Raises:
            TrainingError: The save failed.
        """
        with self._explained():
            self._orbax.close()

    def _check_room(self, state: dict[str, Any]) -> None:
        """Checks that the disk has room for another checkpoint; process 0 decides for all.

        If one process alone met a full disk while writing, the others would wait for it for many minutes.
        """
        if jax.process_count() == 1 or in_bucket(self.directory):
            return
        self._orbax.wait()  # The previous save must be on disk before its bytes can be counted.
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        has_room = shutil.disk_usage(self.directory).free >= needed
        if not multihost_utils.broadcast_one_to_all(np.bool_(has_room)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _context(self) -> ocp.Context:
        """Orbax's settings, with a callback that lists the files once they are complete, before the final rename."""
        context = ocp.Context()
        # Orbax copies its options deeply: a bound method would belong to a copy of this object.
        context.async_options.post_finalization_callback = lambda: self._list_files()
        return context

    def _list_files(self) -> None:
        if not in_bucket(self.directory):
            for folder in incomplete_saves(self.directory, self._saving):
                list_files(str(folder))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Adds to the error of a failed save which checkpoint is still good."""
        try:
            yield
        except Exception as error:  # Orbax passes on any exception of its background writer.
            raise TrainingError(
                f"a checkpoint could not be written to '{self.directory}' ({reason(error)}); "
                f"the last good one is {self.latest or 'none'}; mend this and run the same command again"
            ) from error


class _ReadableSteps(ocp.path.step.NameFormat):  # type: ignore[misc]  # Orbax has no types
    """Orbax's standard names of checkpoints; checkpoints whose timestamps cannot be read are left out of listings.

    Orbax's own listing would fail on them.
    """

    def __init__(self) -> None:
        self._standard = ocp.path.step.standard_name_format()

    def build_name(self, step: int) -> str:
        """Returns the name of a step's checkpoint.

        Args:
            step: Number of steps done.

        Returns:
            Name of the checkpoint's folder.
        """
        name: str = self._standard.build_name(step)
        return name

    def find_step(self, base_path: Any, step: int) -> Any:
        """Finds a step's checkpoint.

        Args:
            base_path: Folder of the checkpoints.
            step: Number of steps done.

        Returns:
            Orbax's metadata of the checkpoint: its path and timestamps.
        """
        return self._standard.find_step(base_path, step)

    def find_all(self, base_path: Any) -> Iterator[Any]:
        """Finds all checkpoints.

        Args:
            base_path: Folder of the checkpoints.

        Yields:
            Orbax's metadata of each checkpoint that can be read, the earliest first.
        """
        for step in saved_steps(base_path):
            with contextlib.suppress(Exception):  # Orbax passes on any exception of its file readers.
                yield self.find_step(base_path, step)


class _LatestGood:
    """Preservation policy that keeps the latest good checkpoints; damaged ones do not count and are deleted.

    Args:
        keep: Number of good checkpoints to keep.
        damaged: Steps of checkpoints that could not be read; the caller adds to this set.
    """

    def __init__(self, keep: int, damaged: Set[int]) -> None:
        self._keep = keep
        self._damaged = damaged

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """Tells Orbax which checkpoints to keep.

        Args:
            checkpoints: Orbax's metadata of the checkpoints, the earliest first.
            context: Context that Orbax passes; ignored.

        Returns:
            For each checkpoint, whether it is kept.
        """
        good = [checkpoint.step for checkpoint in checkpoints if checkpoint.step not in self._damaged]
        return [checkpoint.step in good[-self._keep :] for checkpoint in checkpoints]


def _read(path: str, abstract_state: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Reads and checks the state in a checkpoint and the position of its data; all processes get the same.

    Raises:
        CheckpointError: Names, shapes or dtypes differ.
        DamagedCheckpointError: The checkpoint cannot be read, on this process or another, or its arrays are not those
            that were saved.
    """
    damage: DamagedCheckpointError | None = None
    try:
        shapes, beside = contents(path)
        check_same_shapes(path, shapes, abstract_state)
        state = load(path, jax.tree.map(_target, abstract_state))
    except DamagedCheckpointError as error:
        damage = error
    # All processes compute the digests together, so none may leave before.
    if not on_all(damage is None):
        raise damage or DamagedCheckpointError(f"checkpoint '{path}' cannot be read by another process")
    check_arrays(path, summarize(state), beside["digests"])
    return {name: state[name] for name in abstract_state}, beside["data_state"]


def _target(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape, dtype and sharding of an array; the first device where it has no sharding."""
    sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
