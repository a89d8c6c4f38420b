"""Reading checkpoints: which there are, what they hold, and whether it fits."""

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
    """A checkpoint whose files cannot be read, or do not hold what was saved."""


def absolute_path(directory: str | os.PathLike[str]) -> ocp.path.Path:
    """The directory as Orbax wants it: absolute on a disk, untouched in a bucket (`gs://...`)."""
    name = os.fspath(directory)
    return ocp.path.Path(name if "://" in name else os.path.abspath(name))


def saved_steps(directory: str | os.PathLike[str]) -> dict[int, str]:
    """The path of each complete checkpoint by its step, the earliest first."""
    root = absolute_path(directory)
    if not root.exists():
        return {}
    # Orbax's own listing reads every checkpoint's metadata, and fails on the first that is damaged.
    paths = {int(entry.name): entry for entry in root.iterdir() if is_step_name(entry.name) and entry.is_dir()}
    # In a bucket nothing can be renamed: there a file says that a checkpoint is complete.
    complete = {step: path for step, path in paths.items() if not in_bucket(path) or (path / COMMITTED).exists()}
    return {step: str(complete[step]) for step in sorted(complete)}


def is_step_name(name: str) -> bool:
    """Whether a checkpoint of some step has this name."""
    return name.isascii() and name.isdigit() and name == str(int(name))


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
        CheckpointError: there is no such checkpoint, it cannot be read, or its arrays are not those that were saved.
    """
    path, part = checkpoint_path(directory, step), "params" if params_only else ""
    with _alone(), _remedied():
        shapes, beside = contents(path, part)
        if params_only:
            shapes = {"params": shapes["params"]}
        # Numpy targets, so that a checkpoint of eight devices opens on one.
        state = load(path, jax.tree.map(lambda a: np.broadcast_to(np.zeros((), a.dtype), a.shape), shapes))
        check_arrays(path, summarize(state), beside["digests"])
    warn_of_changed_files(path, part)
    return state["params"] if params_only else state


def metadata(directory: str | os.PathLike[str], step: int | None = None) -> dict[str, Any]:
    """The metadata saved with a checkpoint: the resolved config, versions, and so on.

    Raises:
        CheckpointError: there is no such checkpoint, or it cannot be read.
    """
    path = checkpoint_path(directory, step)
    with _alone(), _remedied():
        return contents(path)[1]["metadata"]


def contents(path: str, part: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """What the checkpoint at `path` holds, without reading its arrays.

    Args:
        path: one checkpoint.
        part: folder in it whose files must be there, in their sizes; all by default.

    Returns:
        The tree of its arrays' shapes and types, and what was saved beside: `data_state`, `metadata` and `digests`,
        the digest of each array by its name, which is None in checkpoints of before there were digests.

    Raises:
        DamagedCheckpointError: it cannot be read.
    """
    # Known before Orbax opens anything: it says in many lines what it cannot open.
    bad = misfits(path, part) if has_list(path) else []
    if not ocp.path.Path(path, CHECKPOINT_METADATA).exists():
        bad.append(CHECKPOINT_METADATA)
    if bad:
        raise DamagedCheckpointError(f"checkpoint '{path}' is damaged: files are missing or cut: {listing(bad)}")
    try:
        saved = ocp.checkpointables_metadata(path)
        # None stands for a part whose files could not be opened.
        if "params" not in saved.metadata or None in saved.metadata.values():
            raise ValueError("its arrays cannot be listed")
        shapes = {"params": saved.metadata["params"], **saved.metadata.get("training", {})}
        return shapes, _unsealed(saved.custom_metadata)
    except Exception as error:  # Orbax passes on whatever its file readers raise.
        raise _damaged(path, error) from error


def sealed(data_state: Any, metadata: Any, summaries: Mapping[str, Summary]) -> dict[str, Any]:
    """What is saved beside the arrays: with their digests, and a digest of all that."""
    digests = {name: summary.digest for name, summary in summaries.items()}
    content = {"data_state": data_state, "metadata": metadata, "digests": digests}
    return content | {"digest": digest_json(content)}


def _unsealed(custom: Any) -> dict[str, Any]:
    if custom.keys() == set(_BESIDE):
        return {**custom, "digests": None}
    content = {name: custom[name] for name in (*_BESIDE, "digests")}
    if custom != content | {"digest": digest_json(content)}:
        raise ValueError("what was saved beside its arrays was changed")
    return content


def check_arrays(path: str, summaries: Mapping[str, Summary], digests: Mapping[str, str] | None) -> None:
    """Whether the arrays that were read are those that were saved, and finite.

    Args:
        path: the checkpoint, for the message.
        summaries: of the arrays that were read.
        digests: of those that were saved; None where none were.

    Raises:
        DamagedCheckpointError: names the arrays that are not.
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
    """Says which files of a checkpoint on a disk changed since they were written, although its arrays are good.

    Args:
        path: one checkpoint, whose arrays were checked.
        part: folder in it that is looked at; all by default.
    """
    if has_list(path) and (changed := changed_files(path, part)):
        _log.warning(
            "checkpoint '%s' holds the arrays that were saved, but some files changed: %s; the disk may be failing",
            path,
            listing(changed),
        )


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
    """Compares names, shapes and types of two trees of arrays, or of their shapes.

    Args:
        path: the checkpoint, for the message.
        saved: what the checkpoint holds.
        needed: what the run needs.

    Raises:
        CheckpointError: names all differences: missing, unexpected and of another shape.
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
    """Names for a sentence: the first ones, and how many more there are."""
    more = len(names) - _MOST_LISTED
    return separator.join(names[:_MOST_LISTED]) + (f"{separator}and {more} more" if more > 0 else "")


def _described(tree: Any) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in named_leaves(tree).items()}


def _shape(array: jax.ShapeDtypeStruct) -> str:
    return str(list(array.shape))


@contextlib.contextmanager
def _remedied() -> Iterator[None]:
    """Adds to what is damaged how it is mended; only for those who do not go back to an earlier checkpoint."""
    try:
        yield
    except DamagedCheckpointError as error:
        raise DamagedCheckpointError(
            f"{error}; run the same train command again, which goes on from the checkpoint before, or copy it again"
        ) from error


def _alone() -> ocp.Context:
    """Orbax without waiting for other processes, which may not read at all."""
    context, own = ocp.Context(), jax.process_index()
    context.multiprocessing.primary_host = own
    context.multiprocessing.active_processes = {own}
    return context


def _damaged(path: str, error: Exception) -> DamagedCheckpointError:
    return DamagedCheckpointError(f"checkpoint '{path}' is damaged or of another program: {reason(error)}")
