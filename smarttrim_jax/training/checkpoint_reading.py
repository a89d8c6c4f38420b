"""Reading checkpoints: which exist, what they hold, and whether they fit a model."""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from smarttrim_jax.errors import CheckpointError, reason
from smarttrim_jax.small_files import in_bucket
from smarttrim_jax.training.checkpoint_files import CHECKPOINT_METADATA, COMMITTED, changed_files, has_list, misfits
from smarttrim_jax.training.digests import Summary, digest_json, not_finite, summarize
from smarttrim_jax.tree_paths import named_leaves

_log = logging.getLogger(__name__)

_MOST_LISTED = 10
_BESIDE = ("data_state", "metadata")


class DamagedCheckpointError(CheckpointError):
    """The files of a checkpoint cannot be read, or do not hold what was saved."""


def absolute_path(directory: str | os.PathLike[str]) -> ocp.path.Path:
    """Converts a directory to the form that Orbax expects.

    Args:
        directory: Folder on a disk, or address in a bucket (`gs://...`).

    Returns:
        The absolute path on a disk; the unchanged address in a bucket.
    """
    name = os.fspath(directory)
    return ocp.path.Path(name if "://" in name else os.path.abspath(name))


def saved_steps(directory: str | os.PathLike[str]) -> dict[int, str]:
    """Lists the complete checkpoints of a folder.

    Args:
        directory: Folder of the checkpoints; it need not exist.

    Returns:
        Path of each complete checkpoint by its step, the earliest first.
    """
    root = absolute_path(directory)
    if not root.exists():
        return {}
    # Orbax's own listing reads the metadata of every checkpoint, and fails on the first damaged one.
    paths = {int(entry.name): entry for entry in root.iterdir() if is_step_name(entry.name) and entry.is_dir()}
    # Nothing can be renamed in a bucket. There a file marks a checkpoint as complete.
    complete = {step: path for step, path in paths.items() if not in_bucket(path) or (path / COMMITTED).exists()}
    return {step: str(complete[step]) for step in sorted(complete)}


def is_step_name(name: str) -> bool:
    """Tells whether a name is that of a checkpoint: a step number without leading zeros.

    Args:
        name: Name of a folder entry.

    Returns:
        True for the name of a checkpoint.
    """
    return name.isascii() and name.isdigit() and name == str(int(name))


def checkpoint_path(directory: str | os.PathLike[str], step: int | None = None) -> str:
    """Finds a checkpoint.

    Args:
        directory: Folder of the checkpoints.
        step: Step of the checkpoint; None for the latest.

    Returns:
        Path of the checkpoint.

    Raises:
        CheckpointError: There is no such checkpoint.
    """
    paths = saved_steps(directory)
    if not paths:
        raise CheckpointError(f"no checkpoint found in '{os.fspath(directory)}'")
    if step is None:
        return list(paths.values())[-1]
    if step not in paths:
        steps = ", ".join(map(str, paths))
        raise CheckpointError(f"no checkpoint of step {step} in '{os.fspath(directory)}'; there are: {steps}")
    return paths[step]


def restore(directory: str | os.PathLike[str], step: int | None = None, params_only: bool = True) -> dict[str, Any]:
    """Reads a checkpoint into host memory, to initialise another run or to evaluate.

    Args:
        directory: Folder of the checkpoints.
        step: Step of the checkpoint; None for the latest.
        params_only: Whether to read the parameters only, about a third of the bytes on disk.

    Returns:
        The parameters, or with `params_only=False` the whole training state, as nested dicts of NumPy arrays.

    Raises:
        CheckpointError: There is no such checkpoint, it cannot be read, or its arrays are not those that were saved.
    """
    path, part = checkpoint_path(directory, step), "params" if params_only else ""
    with _alone(), _remedied():
        shapes, beside = contents(path, part)
        if params_only:
            shapes = {"params": shapes["params"]}
        # NumPy targets, so that a checkpoint written by eight devices can be read on one.
        state = load(path, jax.tree.map(lambda a: np.broadcast_to(np.zeros((), a.dtype), a.shape), shapes))
        check_arrays(path, summarize(state), beside["digests"])
    warn_of_changed_files(path, part)
    return state["params"] if params_only else state


def metadata(directory: str | os.PathLike[str], step: int | None = None) -> dict[str, Any]:
    """Reads the metadata saved with a checkpoint: the resolved configuration and the versions that wrote it.

    Args:
        directory: Folder of the checkpoints.
        step: Step of the checkpoint; None for the latest.

    Returns:
        The dict that `training.workdir.describe` made.

    Raises:
        CheckpointError: There is no such checkpoint, or it cannot be read.
    """
    path = checkpoint_path(directory, step)
    with _alone(), _remedied():
        _, beside = contents(path)
        saved: dict[str, Any] = beside["metadata"]
        return saved


def contents(path: str, part: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """Describes what a checkpoint holds, without reading its arrays.

    Args:
        path: Folder of one checkpoint.
        part: Subfolder whose files must be present with their sizes; "" for all files.

    Returns:
        The tree of the arrays' shapes and dtypes, and what was saved beside them: `data_state`, `metadata` and
        `digests`, the digest of each array by name (None in checkpoints that predate digests).

    Raises:
        DamagedCheckpointError: The checkpoint cannot be read.
    """
    # Checked before Orbax opens anything, since it reports a file that it cannot open in many lines.
    bad = misfits(path, part) if has_list(path) else []
    if not ocp.path.Path(path, CHECKPOINT_METADATA).exists():
        bad.append(CHECKPOINT_METADATA)
    if bad:
        raise DamagedCheckpointError(f"checkpoint '{path}' is damaged: files are missing or cut: {listing(bad)}")
    try:
        saved = ocp.checkpointables_metadata(path)
        # Orbax gives None for a part whose files could not be opened.
        if "params" not in saved.metadata or None in saved.metadata.values():
            raise ValueError("its arrays cannot be listed")
        shapes = {"params": saved.metadata["params"], **saved.metadata.get("training", {})}
        return shapes, _unsealed(saved.custom_metadata)
    except Exception as error:  # Orbax passes on any exception of its file readers.
        raise _damaged(path, error) from error


def sealed(data_state: Any, metadata: Any, summaries: Mapping[str, Summary]) -> dict[str, Any]:
    """Assembles what is saved beside the arrays, with a digest over it.

    Args:
        data_state: JSON-ready position of the data.
        metadata: JSON-ready description of the run.
        summaries: Summary of each array by name.

    Returns:
        Dict with `data_state`, `metadata`, `digests` (of each array) and `digest` (of these three entries).
    """
    digests = {name: summary.digest for name, summary in summaries.items()}
    content = {"data_state": data_state, "metadata": metadata, "digests": digests}
    return content | {"digest": digest_json(content)}


def _unsealed(custom: Any) -> dict[str, Any]:
    """Reverses `sealed`: checks the digest and removes it."""
    if custom.keys() == set(_BESIDE):
        return {**custom, "digests": None}
    content = {name: custom[name] for name in (*_BESIDE, "digests")}
    if custom != content | {"digest": digest_json(content)}:
        raise ValueError("what was saved beside its arrays was changed")
    return content


def check_arrays(path: str, summaries: Mapping[str, Summary], digests: Mapping[str, str] | None) -> None:
    """Checks that the arrays that were read are those that were saved, and finite.

    Args:
        path: Path of the checkpoint, for the message.
        summaries: Summary of each array that was read, by name.
        digests: Digest of each array that was saved, by name; None where the checkpoint has none.

    Raises:
        DamagedCheckpointError: Some arrays differ from what was saved or are not finite; the message names them.
    """
    if digests is None:
        _log.warning("checkpoint '%s' was saved without digests; its arrays are taken as they are", path)
    else:
        changed = [name for name, summary in summaries.items() if digests.get(name) != summary.digest]
        if changed:
            raise DamagedCheckpointError(
                f"checkpoint '{path}' is damaged: other values than were saved in {listing(changed)}"
            )
    if bad := not_finite(summaries):
        raise DamagedCheckpointError(f"checkpoint '{path}' is of no use: not finite: {listing(bad)}")


def warn_of_changed_files(path: str, part: str = "") -> None:
    """Warns of changed files in a checkpoint on a disk whose arrays are nevertheless intact.

    Args:
        path: Folder of one checkpoint, whose arrays have been checked.
        part: Subfolder to look at; "" for the whole checkpoint.
    """
    if has_list(path) and (changed := changed_files(path, part)):
        _log.warning(
            "checkpoint '%s' holds the arrays that were saved, but some files changed: %s; the disk may be failing",
            path,
            listing(changed),
        )


def load(path: str, targets: dict[str, Any]) -> dict[str, Any]:
    """Reads arrays of a checkpoint; they are not checked.

    Args:
        path: Folder of one checkpoint.
        targets: Whole state, or its `params` only: arrays or `jax.ShapeDtypeStruct`s of the wanted dtypes, shapes and
            shardings.

    Returns:
        The arrays in the structure of `targets`.

    Raises:
        DamagedCheckpointError: The checkpoint cannot be read.
    """
    try:
        loaded = ocp.load_checkpointables(path, split_params(targets))
    except Exception as error:  # Orbax passes on any exception of its file readers.
        raise _damaged(path, error) from error
    return {"params": loaded["params"], **loaded.get("training", {})}


def split_params(state: dict[str, Any]) -> dict[str, Any]:
    """Splits a state into the two parts that are saved, so that parameters can be read alone.

    Args:
        state: Training state, or `params` only.

    Returns:
        `params`, and `training` with all other entries if there are any.
    """
    rest = {name: value for name, value in state.items() if name != "params"}
    return {"params": state["params"], **({"training": rest} if rest else {})}


def check_same_shapes(path: str, saved: Any, needed: Any) -> None:
    """Compares names, shapes and dtypes of two trees of arrays.

    Args:
        path: Path of the checkpoint, for the message.
        saved: Arrays, or their shapes, that the checkpoint holds.
        needed: Arrays, or their shapes, that the model or the run needs.

    Raises:
        CheckpointError: The trees differ; the message names arrays that are missing, unexpected, or of another shape
            or dtype.
    """
    have = _described(saved)
    need = _described(needed)
    differences = [f"{name} {_shape(need[name])} is missing" for name in need if name not in have]
    differences += [f"{name} {_shape(have[name])} is unexpected" for name in have if name not in need]
    for name in need:
        if name not in have or have[name] == need[name]:
            continue
        same_shape = have[name].shape == need[name].shape
        kinds = [each.dtype if same_shape else _shape(each) for each in (have[name], need[name])]
        differences.append(f"{name} is {kinds[0]}, needed is {kinds[1]}")
    if differences:
        raise CheckpointError(
            f"checkpoint '{path}' is of another model or optimizer, {len(differences)} arrays differ: "
            + listing(differences, "; ")
        )


def listing(names: Sequence[str], separator: str = ", ") -> str:
    """Joins names for a sentence: the first ten, and how many more there are.

    Args:
        names: Names in the order to be shown.
        separator: Text between two names.

    Returns:
        The joined names.
    """
    more = len(names) - _MOST_LISTED
    return separator.join(names[:_MOST_LISTED]) + (f"{separator}and {more} more" if more > 0 else "")


def _described(tree: Any) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in named_leaves(tree).items()}


def _shape(array: jax.ShapeDtypeStruct) -> str:
    return str(list(array.shape))


@contextlib.contextmanager
def _remedied() -> Iterator[None]:
    """Adds to a "damaged" error how to recover, for callers that do not fall back to an earlier checkpoint."""
    try:
        yield
    except DamagedCheckpointError as error:
        raise DamagedCheckpointError(
            f"{error}; run the same train command again, which goes on from the checkpoint before, or copy it again"
        ) from error


def _alone() -> ocp.Context:
    """Orbax context of this process only, since other processes may not read at all."""
    context, own = ocp.Context(), jax.process_index()
    context.multiprocessing.primary_host = own
    context.multiprocessing.active_processes = {own}
    return context


def _damaged(path: str, error: Exception) -> DamagedCheckpointError:
    return DamagedCheckpointError(f"checkpoint '{path}' is damaged or of another program: {reason(error)}")
