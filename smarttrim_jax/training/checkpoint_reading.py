"""Reading checkpoints: which there are, what they hold, and whether it fits."""

import os
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.training.tree_paths import named_leaves

_MOST_LISTED = 10


class DamagedCheckpointError(CheckpointError):
    """A checkpoint whose files cannot be read."""


def absolute_path(directory: str | os.PathLike[str]) -> ocp.path.Path:
    """The directory as Orbax wants it: absolute on a disk, untouched in a bucket (`gs://...`)."""
    name = os.fspath(directory)
    return ocp.path.Path(name if "://" in name else os.path.abspath(name))


def saved_steps(directory: str | os.PathLike[str]) -> dict[int, str]:
    """The path of each complete checkpoint by its step, the earliest first."""
    root = absolute_path(directory)
    if not root.exists():
        return {}
    found = ocp.path.step.standard_name_format().find_all(root)
    return {checkpoint.step: str(checkpoint.path) for checkpoint in sorted(found, key=lambda c: c.step)}


def checkpoint_path(directory: str | os.PathLike[str], step: int | None = None) -> str:
    """The path of the checkpoint of `step`, or of the latest.

    Raises:
        CheckpointError: there is none.
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
    """Reads a checkpoint into host memory, to start another run from or to evaluate.

    Args:
        directory: the checkpoints' folder.
        step: which one; the latest by default.
        params_only: read only the parameters, a third of what is on the disk.

    Returns:
        The parameters, or with `params_only=False` the whole state, as nested dicts of numpy arrays.

    Raises:
        CheckpointError: there is no such checkpoint, or it cannot be read.
    """
    path = checkpoint_path(directory, step)
    with _alone():
        shapes, _ = contents(path)
        if params_only:
            shapes = {"params": shapes["params"]}
        # Numpy targets, so that a checkpoint of eight devices opens on one.
        state = load(path, jax.tree.map(lambda a: np.broadcast_to(np.zeros((), a.dtype), a.shape), shapes))
    return state["params"] if params_only else state


def metadata(directory: str | os.PathLike[str], step: int | None = None) -> dict[str, Any]:
    """The metadata saved with a checkpoint: the resolved config, versions, and so on.

    Raises:
        CheckpointError: there is no such checkpoint, or it cannot be read.
    """
    with _alone():
        return contents(checkpoint_path(directory, step))[1]["metadata"]


def contents(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the checkpoint at `path` holds, without reading its arrays.

    Returns:
        The tree of its arrays' shapes and types, and what was saved beside: `data_state` and `metadata`.

    Raises:
        DamagedCheckpointError: it cannot be read.
    """
    try:
        saved = ocp.checkpointables_metadata(path)
        # None stands for a part whose files could not be opened.
        if None in saved.metadata.values():
            raise ValueError("its arrays cannot be listed")
        shapes = {"params": saved.metadata["params"], **saved.metadata.get("training", {})}
        return shapes, {name: saved.custom_metadata[name] for name in ("data_state", "metadata")}
    except Exception as error:  # Orbax passes on whatever its file readers raise.
        raise _damaged(path, error) from error


def load(path: str, targets: dict[str, Any]) -> dict[str, Any]:
    """Reads the arrays of the checkpoint at `path`.

    Args:
        path: one checkpoint.
        targets: state, or its `params` alone, of the types, shapes and places wanted.

    Raises:
        DamagedCheckpointError: it cannot be read.
    """
    try:
        loaded = ocp.load_checkpointables(path, split_params(targets))
    except Exception as error:  # as in `contents`
        raise _damaged(path, error) from error
    return {"params": loaded["params"], **loaded.get("training", {})}


def split_params(state: dict[str, Any]) -> dict[str, Any]:
    """The state as it is saved: parameters apart from the rest, so that they can be read alone."""
    rest = {name: value for name, value in state.items() if name != "params"}
    return {"params": state["params"], **({"training": rest} if rest else {})}


def check_same_shapes(path: str, saved: Any, needed: Any) -> None:
    """Compares names and shapes of two trees of arrays, or of their shapes.

    Args:
        path: the checkpoint, for the message.
        saved: what the checkpoint holds.
        needed: what the run needs.

    Raises:
        CheckpointError: names all differences: missing, unexpected and of another shape.
    """
    have, need = ({name: list(a.shape) for name, a in named_leaves(tree).items()} for tree in (saved, needed))
    differences = [f"{name} {need[name]} is missing" for name in need if name not in have]
    differences += [f"{name} {have[name]} is unexpected" for name in have if name not in need]
    differences += [
        f"{name} is {have[name]}, needed is {need[name]}"
        for name in need
        if name in have and have[name] != need[name]
    ]
    if differences:
        more = len(differences) - _MOST_LISTED
        raise CheckpointError(
            f"checkpoint '{path}' is of another model or optimizer, {len(differences)} arrays differ: "
            + "; ".join(differences[:_MOST_LISTED])
            + (f"; and {more} more" if more > 0 else "")
        )


def reason(error: Exception) -> str:
    """The first line of an error, or its type where it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _alone() -> ocp.Context:
    """Orbax without waiting for other processes, which may not read at all."""
    context, own = ocp.Context(), jax.process_index()
    context.multiprocessing.primary_host = own
    context.multiprocessing.active_processes = {own}
    return context


def _damaged(path: str, error: Exception) -> DamagedCheckpointError:
    return DamagedCheckpointError(f"checkpoint '{path}' is damaged or of another program: {reason(error)}")
