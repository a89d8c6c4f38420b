"""A trained model as one file that decides per example what to drop and that JAX alone can run."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from smarttrim_jax.data.images import normalize
from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.execution.config import ExecutionConfig
from smarttrim_jax.execution.cuts import spread_cuts
from smarttrim_jax.execution.one_program import packed_apply
from smarttrim_jax.models.base import Output
from smarttrim_jax.models.functional import Params
from smarttrim_jax.serving.trained_model import TrainedModel
from smarttrim_jax.tasks import ChoosingTask, Task
from smarttrim_jax.trimming.gates import Trim, TrimRecord

PLATFORMS = ("cpu", "cuda", "tpu")


def export_model(
    trained: TrainedModel,
    path: str,
    *,
    batch_size: int,
    speedup: float | None = None,
    execution: ExecutionConfig | None = None,
    platforms: tuple[str, ...] = PLATFORMS,
) -> int:
    """Writes the model's program together with its parameters.

    `jax.export.deserialize(bytearray(file)).call(images, ids, mask)` runs it. It takes images uint8
    `[batch, images, size, size, 3]` and ids and mask int32 `[batch, text_length]`, and returns a dict of float32
    logits `[batch, outputs]` by head name, and `macs_ratio` `[batch]`, each example's share of the full model's MACs.
    Where answers are ranked (BLIP's for questions), `answer` `[batch]`, the number of the class, and its
    `probability` `[batch]` take the place of logits.

    Args:
        trained: A model that trims.
        path: File to write.
        batch_size: Number of examples of every call.
        speedup: Speed-up in MACs; None for the one that the model was trained for.
        execution: How many cuts and branches the program has; None for the settings of the model's run.
        platforms: JAX platforms on which the program shall run.

    Returns:
        Number of bytes written.

    Raises:
        ConfigError: The speed-up is beyond the model's dial, or the model has never been trimmed.
        DataError: The file cannot be written.
    """
    trim, execution = trained.trim(speedup), execution or trained.config.execution
    if trim is None:
        raise ConfigError("this model never trimmed; there is no trimming program to export")

    def program(images: jax.Array, ids: jax.Array, mask: jax.Array) -> dict[str, Any]:
        """Answers a batch with the parameters as constants; see `answer`.

        Args:
            images: Images uint8, `[batch, images, size, size, 3]`.
            ids: Token ids int32, `[batch, text_length]`.
            mask: 1 for tokens, 0 for padding, int32 `[batch, text_length]`.

        Returns:
            Results by name, as `answer` returns them.
        """
        return answer(trained.task, execution, trained.params, trim, images, ids, mask)

    data, images = trained.config.data, trained.config.model.images
    text = jax.ShapeDtypeStruct((batch_size, data.text_length), jnp.int32)
    pixels = jax.ShapeDtypeStruct((batch_size, images, data.image_size, data.image_size, 3), jnp.uint8)
    exported = jax.export.export(jax.jit(program), platforms=platforms)(pixels, text, text)
    content = exported.serialize()
    try:
        pathlib.Path(path).write_bytes(content)
    except OSError as error:
        raise DataError(f"cannot write '{path}': {error.strerror}; choose another --export") from None
    return len(content)


def answer(
    task: Task,
    execution: ExecutionConfig,
    params: Params,
    trim: Trim,
    images: jax.Array,
    ids: jax.Array,
    mask: jax.Array,
) -> dict[str, Any]:
    """Answers a batch inside one program that skips work for dropped tokens.

    Args:
        task: Task that the model was trained for.
        execution: How many cuts and branches the program has; the cuts are spread evenly.
        params: The model's parameters.
        trim: How the trimmers decide.
        images: Images uint8, `[batch, images, size, size, 3]`.
        ids: Token ids int32, `[batch, text_length]`.
        mask: 1 for tokens, 0 for padding, int32 `[batch, text_length]`.

    Returns:
        Logits float32 `[batch, outputs]` by head name, or, where answers are ranked, `answer` and `probability`
        `[batch]`; and `macs_ratio` `[batch]`.
    """
    model, pixels = task.model.scanned(), normalize(images, task.config.pixels)
    cuts = spread_cuts(model.bind(params).stages, execution.cuts)
    output = packed_apply(model, cuts, execution.rounding, params, pixels, ids, mask, trim)
    results, record = read_answers(task, params, output, trim)
    return results | {"macs_ratio": model.macs(record) / model.full_macs(record)}


def read_answers(task: Task, params: Params, output: Output, trim: Trim | None) -> tuple[dict[str, Any], TrimRecord]:
    """Reads answers from the output of a model's call.

    Args:
        task: Task that the model was trained for.
        params: The model's parameters.
        output: Result of the model's call, by padded or packed execution.
        trim: How the trimmers decided; None for full capacity.

    Returns:
        The results by name, as `answer` returns them, and the gates of what was computed for them.
    """
    if output.logits or not isinstance(task, ChoosingTask):
        return dict(output.logits), output.record
    choice = task.choose(params, output, trim)
    return {"answer": choice.number, "probability": choice.probability}, choice.record
