"""What a killed process leaves among its checkpoints: saves that were not completed, and half-deleted old ones."""

import logging

from orbax.checkpoint import v1 as ocp

from smarttrim_jax.small_files import in_bucket
from smarttrim_jax.training.checkpoint_files import CHECKPOINT_METADATA, COMMITTED, LIST, has_list
from smarttrim_jax.training.checkpoint_reading import (
    DamagedCheckpointError,
    absolute_path,
    contents,
    is_step_name,
)

_log = logging.getLogger(__name__)

_TEMPORARY = ".orbax-checkpoint-tmp"
_PARTS = {CHECKPOINT_METADATA, COMMITTED, LIST, "params", "training"}


def incomplete_saves(directory: str, step: int | None = None) -> list[ocp.path.Path]:
    """Lists the temporary folders of saves that were interrupted or are in progress.

    Args:
        directory: Folder of the checkpoints.
        step: Only saves of this step; None for all.

    Returns:
        The temporary folders.
    """
    entries = [entry for entry in absolute_path(directory).iterdir() if _TEMPORARY in entry.name]
    return [entry for entry in entries if step is None or entry.name.startswith(f"{step}{_TEMPORARY}")]


def remove_half_deleted(directory: str) -> None:
    """Removes the remains of old checkpoints whose deletion was interrupted.

    Only entries older than the latest complete checkpoint are removed, and nothing that is not a checkpoint of this
    library.

    Args:
        directory: Folder of the checkpoints, to which no other process writes.

    Raises:
        OSError: The remains cannot be removed.
    """
    found = {int(entry.name): entry for entry in absolute_path(directory).iterdir() if _is_checkpoint(entry)}
    complete = [step for step, path in found.items() if _is_complete(str(path))]
    old = [step for step in sorted(found) if complete and step < max(complete) and step not in complete]
    for step in old:
        found[step].rmtree()
    if old:
        _log.warning("%s: removing old checkpoints that were half deleted: %s", directory, ", ".join(map(str, old)))


def _is_checkpoint(entry: ocp.path.Path) -> bool:
    """Tells whether an entry is a checkpoint of this library, or what is left of one."""
    return is_step_name(entry.name) and entry.is_dir() and {inside.name for inside in entry.iterdir()} <= _PARTS


def _is_complete(path: str) -> bool:
    """Tells whether a checkpoint has all its files; their contents are not read."""
    try:
        _, beside = contents(path)
    except DamagedCheckpointError:
        return False
    if not ocp.path.Path(path, COMMITTED).exists():
        return False
    # Checkpoints with digests have a list on a disk, and `contents` has looked for the listed files.
    return has_list(path) or in_bucket(path) or beside["digests"] is None
