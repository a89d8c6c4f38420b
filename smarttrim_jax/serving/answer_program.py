"""Images and texts to answers in one program, adaptive for every example: what is exported."""

from typing import Any

import jax

from smarttrim_jax.data.images import normalize
from smarttrim_jax.execution.adaptive import AdaptiveConfig, adaptive_apply
from smarttrim_jax.models.functional import Params
from smarttrim_jax.training.tasks import ChoosingTask, Task
from smarttrim_jax.trimming.gates import Trim


def answer(
    task: Task,
    config: AdaptiveConfig,
    params: Params,
    trim: Trim,
    images: jax.Array,
    ids: jax.Array,
    mask: jax.Array,
) -> dict[str, Any]:
    """Logits by head name, or a choice where answers are ranked, and each example's share of the full MACs.

    Args:
        task: of a run.
        config: of the program's branches.
        params: of the model.
        trim: how the trimmers decide.
        images: uint8, `[batch, images, size, size, 3]`.
        ids: int32, `[batch, text_length]`.
        mask: 1 for tokens, 0 for padding.
    """
    model, pixels = task.model, normalize(images, task.config.pixels)
    output = adaptive_apply(model, config, params, pixels, ids, mask, trim)
    results, record = dict(output.logits), output.record
    if not results and isinstance(task, ChoosingTask):
        choice = task.choose(params, output, trim)
        results, record = {"answer": choice.number, "probability": choice.probability}, choice.record
    return results | {"macs_ratio": model.macs(record) / model.macs(record.opened(), trimmed=False)}
