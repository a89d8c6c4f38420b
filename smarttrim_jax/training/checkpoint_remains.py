"""What a killed process leaves between its checkpoints: saves that were not completed, and half-deleted old ones."""

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
    """The folders of saves that were interrupted, or are being written.

    Args:
        directory: Folder of the checkpoints.
        step: Saves of this step alone.
    """
    entries = [entry for entry in absolute_path(directory).iterdir() if _TEMPORARY in entry.name]
    return [entry for entry in entries if step is None or entry.name.startswith(f"{step}{_TEMPORARY}")]


def remove_half_deleted(directory: str) -> None:
    """Removes what is left of old checkpoints that were being deleted.

    Only what lies before the latest complete checkpoint is removed, and nothing that is not a checkpoint of this
    library.

    Args:
        directory: Folder of the checkpoints, in which nobody else writes.

    Raises:
        OSError: It cannot be removed.
    """
    found = {int(entry.name): entry for entry in absolute_path(directory).iterdir() if _is_checkpoint(entry)}
    complete = [step for step, path in found.items() if _is_complete(str(path))]
    old = [step for step in sorted(found) if complete and step < max(complete) and step not in complete]
    for step in old:
        found[step].rmtree()
    if old:
        _log.warning("%s: removing old checkpoints that were half deleted: %s", directory, ", ".join(map(str, old)))


def _is_checkpoint(entry: ocp.path.Path) -> bool:
    """Whether an entry is a checkpoint of this library, or a part of one."""
    return is_step_name(entry.name) and entry.is_dir() and {inside.name for inside in entry.iterdir()} <= _PARTS


def _is_complete(path: str) -> bool:
    """Whether a checkpoint has all its files; their content is not read."""
    try:
        _, beside = contents(path)
    except DamagedCheckpointError:
        return False
    if not ocp.path.Path(path, COMMITTED).exists():
        return False
    # Since there are digests every checkpoint on a disk has a list, whose files were looked for.
    return has_list(path) or in_bucket(path) or beside["digests"] is None
