"""The folder of a trained model: that of a run, or a saved model that can be copied to another machine.

- `config.json`: the configuration, all sizes resolved
- `model.safetensors`: the parameters, by "/"-joined path; a run has `checkpoints/` instead
- `tokenizer.json`: the tokenizer
- `answers.json`: the names of the answers, in the order of their numbers
- `speed_dial.json`: measured offsets and MAC ratios, of a model that trims
- `execution.json`: measured times of its executions, once `benchmark --remember` has taken them
- `digests.json`: the SHA-256 of each of these files (a checkpoint has digests of its own)
- `README.md`: a model card, of a saved model

Everything in a folder is data: nothing is imported by a name in it, and no file outside it is opened.
"""

import dataclasses
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from smarttrim_jax.configuration import build, to_dict
from smarttrim_jax.data.language import ANSWERS, RENEW, TOKENIZER, Language, read_language, write_language
from smarttrim_jax.errors import CheckpointError, ConfigError
from smarttrim_jax.execution.timings import ExecutionTimings
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.file_digests import DIGESTS, check_digest, read_digests, record_digests
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.pretrained.files import read_weights, write_weights
from smarttrim_jax.serving.model_card import model_card
from smarttrim_jax.small_files import MOST_BYTES, in_bucket, read_json, write_json, write_whole
from smarttrim_jax.training.checkpoint_reading import check_same_shapes, restore, saved_steps
from smarttrim_jax.training.digests import Summary, digest_json, not_finite, summarize
from smarttrim_jax.training.workdir import Workdir
from smarttrim_jax.tree_paths import flat_dict, nested_dict
from smarttrim_jax.trimming.calibration import SpeedDial

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
DIAL = "speed_dial.json"
TIMINGS = "execution.json"
CARD = "README.md"
OPTIONAL = (DIAL, TIMINGS)
"""Files that a folder may lack."""

SAVE_AGAIN = "copy or save the model again"
MEASURE_AGAIN = "delete it, and measure again with `benchmark --remember` if you like"

ELSEWHERE = ("data.data_dir", "data.source", "data.tokenizer", "init_from")
"""Keys of a configuration that name paths of the machine it was trained on; a saved model has their defaults."""


class Contents(NamedTuple):
    """Content of a folder, in the order of `TrainedModel`'s fields.

    Attributes:
        config: Configuration with all sizes resolved.
        params: The model's parameters.
        language: Tokenizer and names of the answers.
        dial: Speed dial; None if the model has never been trimmed.
        origin: The folder's path and a short digest of the model, as "path@digest".
        timings: Measured times of the model's executions.
    """

    config: ExperimentConfig
    params: Params
    language: Language
    dial: SpeedDial | None
    origin: str
    timings: ExecutionTimings


def read_folder(path: str, unfinished: bool = False) -> Contents:
    """Reads the folder of a run or of a saved model, and checks it.

    Args:
        path: The folder.
        unfinished: Whether to accept a run that has not been trained to its end, and use its last checkpoint.

    Returns:
        Configuration, parameters, words, dial, origin and timings.

    Raises:
        CheckpointError: There is no trained model, or its files are damaged, of other sizes, or links that leave the
            folder.
    """
    folder = epath.Path(path).expanduser()
    if not (folder / CONFIG).exists():
        raise CheckpointError(f"'{path}' holds no run and no saved model ({CONFIG} is missing)")
    if not in_bucket(path):
        _check_contained(pathlib.Path(folder))
    saved = is_saved(path)
    digests = _digests_of_saved(path) if saved else read_digests(folder, RENEW)
    for name in (CONFIG, TOKENIZER, ANSWERS, *OPTIONAL):
        if name in digests and (folder / name).exists():
            remedy = MEASURE_AGAIN if name == TIMINGS else SAVE_AGAIN if saved else RENEW
            check_digest(folder / name, digests[name], MOST_BYTES, remedy)
    config = Workdir(path).config()
    if saved:
        _check_names_no_place(config, path)
    else:
        _check_finished(config, path, unfinished)
    language = read_language(folder, config.data)
    _check_language(path, config, language)
    needed = _needed(config)
    if saved:
        arrays = sum(leaf.size * leaf.dtype.itemsize for leaf in needed.values())
        check_digest(folder / WEIGHTS, digests[WEIGHTS], arrays + MOST_BYTES, SAVE_AGAIN)
    weights = read_weights(pathlib.Path(folder, WEIGHTS)) if saved else flat_dict(restore(Workdir(path).checkpoints))
    # By "/"-joined path: names in an untrusted file may clash, or nest endlessly, as a tree.
    check_same_shapes(path, weights, needed)
    params = nested_dict(weights)
    summaries = summarize(params)
    bad = not_finite(summaries)
    if bad:
        raise CheckpointError(f"'{path}' holds {len(bad)} arrays that are not finite ({bad[0]}); train it again")
    has_dial = (folder / DIAL).exists() if saved or unfinished else bool(config.schedule.trim_steps)
    dial = Workdir(path).dial() if has_dial else None
    origin = f"{path}@{version_of(summaries, language)}"
    return Contents(config, jax.device_put(params), language, dial, origin, _read_timings(folder / TIMINGS))


def write_timings(path: str, timings: ExecutionTimings) -> None:
    """Keeps measured times of executions with a model.

    Args:
        path: Folder of a run or of a saved model.
        timings: All times, which replace those in the folder.

    Raises:
        CheckpointError: The file cannot be written.
    """
    folder = epath.Path(path).expanduser()
    try:
        write_json(folder / TIMINGS, to_dict(timings))
        record_digests(folder, [TIMINGS])
    except OSError as error:
        raise _unwritable(path, error) from None


def _read_timings(file: epath.Path) -> ExecutionTimings:
    """The measured times in a file; none where it does not exist.

    Raises:
        CheckpointError: The file is damaged.
    """
    if not file.exists():
        return ExecutionTimings()
    try:
        return build(ExecutionTimings, read_json(file, MEASURE_AGAIN), file.name)
    except ConfigError as error:
        raise CheckpointError(f"'{file}' is damaged ({error}); {MEASURE_AGAIN}") from None


def version_of(summaries: Mapping[str, Summary], language: Language) -> str:
    """Computes a short identifier of a model, which differs for other parameters, words or answers.

    Args:
        summaries: Summary of each of the model's arrays by name; see `training.digests.summarize`.
        language: Tokenizer and names of the answers.

    Returns:
        12 hexadecimal digits.
    """
    arrays = {name: summary.digest for name, summary in summaries.items()}
    return digest_json([arrays, language.text.to_json(), language.answer_names])[:12]


def is_saved(path: str) -> bool:
    """Tells whether a folder is that of a saved model, not of a run.

    Args:
        path: The folder.

    Returns:
        True if the folder holds `model.safetensors`.
    """
    holds_weights: bool = (epath.Path(path).expanduser() / WEIGHTS).exists()
    return holds_weights


def write_folder(path: str | os.PathLike[str], contents: Contents) -> None:
    """Saves a model so that it answers on a machine that has never seen its data.

    The folder gets its name only when it is complete.

    Args:
        path: New or empty folder on a disk.
        contents: The model; `origin` is not saved.

    Raises:
        CheckpointError: The folder is not empty or cannot be written, or the weights are not finite.
    """
    if in_bucket(path):
        raise CheckpointError(f"'{path}' is no folder on a disk; save the model there and copy it")
    folder = pathlib.Path(path).expanduser().absolute()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CheckpointError(f"'{path}' is there already; choose a new folder, or remove it first")
    weights = {name: np.asarray(leaf) for name, leaf in flat_dict(contents.params).items()}
    bad = not_finite(summarize(weights))
    if bad:
        raise CheckpointError(f"{len(bad)} arrays are not finite and are not saved: {', '.join(bad[:10])}")
    check_same_shapes(os.fspath(path), weights, _needed(contents.config))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        _write_files(part, weights, contents)
        part.chmod(0o777 & ~_umask())  # mkdtemp gives permissions to the owner only.
        part.rename(folder)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_files(part: pathlib.Path, weights: dict[str, np.ndarray], contents: Contents) -> None:
    write_weights(part / WEIGHTS, weights, {"format": "smarttrim_jax"})
    write_json(part / CONFIG, to_dict(_without_places(contents.config)))
    write_language(part, contents.language)
    names = [WEIGHTS, CONFIG, TOKENIZER, ANSWERS]
    for name, optional in ((DIAL, contents.dial), (TIMINGS, contents.timings)):
        if optional not in (None, ExecutionTimings()):
            write_json(part / name, to_dict(optional))
            names.append(name)
    record_digests(part, names)
    write_whole(part / CARD, model_card(contents.config, contents.language, contents.dial))


def _without_places(config: ExperimentConfig) -> ExperimentConfig:
    """The configuration without paths of the machine it was trained on."""
    data = dataclasses.replace(
        config.data, **{key: _default(f"data.{key}") for key in ("data_dir", "source", "tokenizer")}
    )
    return dataclasses.replace(config, data=data, init_from="")


def _default(key: str) -> Any:
    """Default value of one of the keys in `ELSEWHERE`."""
    owner: Any = ExperimentConfig
    *groups, name = key.split(".")
    for group in groups:
        owner = {field.name: field.type for field in dataclasses.fields(owner)}[group]
    return {field.name: field.default for field in dataclasses.fields(owner)}[name]


def _check_names_no_place(config: ExperimentConfig, path: str) -> None:
    for key in ELSEWHERE:
        value: Any = config
        for name in key.split("."):
            value = getattr(value, name)
        if value != _default(key):
            raise CheckpointError(
                f"'{path}' is a saved model whose {CONFIG} names a place outside of it: {key} is {value!r}; "
                "a model that `TrainedModel.save` wrote names none"
            )


def _check_contained(folder: pathlib.Path) -> None:
    """Checks that every file below a folder really lies there.

    Raises:
        CheckpointError: A link leads out of the folder.
    """
    root = os.path.realpath(folder)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            entry = pathlib.Path(parent, name)
            # Path.resolve would fail on circular links.
            if entry.is_symlink() and not pathlib.Path(os.path.realpath(entry)).is_relative_to(root):
                raise CheckpointError(
                    f"'{entry}' is a link that leads out of the model's folder; replace it by a copy"
                )


def _digests_of_saved(path: str) -> dict[str, Any]:
    """Reads the digest of each file of a saved model, by name; some may be absent.

    Raises:
        CheckpointError: Files are missing, or are not files of a saved model.
    """
    if in_bucket(path):
        raise CheckpointError(f"'{path}' is a saved model in a bucket; copy the folder to a disk, and name that")
    folder = pathlib.Path(path).expanduser()
    known = read_json(folder / DIGESTS, SAVE_AGAIN)
    needed = {WEIGHTS, CONFIG, TOKENIZER, ANSWERS}
    expected = needed | {name for name in OPTIONAL if (folder / name).exists()}
    for name in expected | (set(known) - {TIMINGS}):  # times may be deleted
        if name not in needed | set(OPTIONAL) or name not in known or not (folder / name).is_file():
            raise CheckpointError(f"'{folder / name}' is missing or none of a saved model's files; {SAVE_AGAIN}")
    return known


def _check_finished(config: ExperimentConfig, path: str, unfinished: bool) -> None:
    """Checks that a run was trained to its end, unless unfinished runs are accepted.

    Raises:
        CheckpointError: The run is unfinished.
    """
    done, total = max(saved_steps(Workdir(path).checkpoints), default=0), config.schedule.total_steps
    if done < total and not unfinished:
        raise CheckpointError(
            f"the run in '{path}' is unfinished: its last checkpoint is of step {done} of {total}; train it to its "
            "end, or take it as it is with --unfinished"
        )


def _needed(config: ExperimentConfig) -> dict[str, Any]:
    """Shape and dtype of each of the model's arrays, by its "/"-joined path."""
    return flat_dict(jax.eval_shape(Functional(config.model).init, jax.random.key(0)))


def _check_language(path: str, config: ExperimentConfig, language: Language) -> None:
    """Checks that the numbers of words and answers are those of the model."""
    sizes = {TOKENIZER: (language.text.vocab_size, config.model.vocab_size, "words")}
    outputs = config.model.outputs(config.task)
    if outputs is not None:
        sizes[ANSWERS] = (len(language.answer_names), outputs, "answers")
    for name, (have, need, what) in sizes.items():
        if have != need:
            raise CheckpointError(f"'{path}': {name} holds {have} {what}, but the model of {CONFIG} has {need}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _unwritable(path: str | os.PathLike[str], error: OSError) -> CheckpointError:
    return CheckpointError(f"cannot write '{path}': {error.strerror or error}; choose a writable folder")
