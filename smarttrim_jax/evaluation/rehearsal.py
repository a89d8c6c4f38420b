"""Checks that metrics find what they read, before a model is trained for them."""

import dataclasses
from typing import Any

import jax
import numpy as np

from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.data.pipeline import eval_batches
from smarttrim_jax.evaluation.evaluator import named_values
from smarttrim_jax.metrics import Scores
from smarttrim_jax.models.functional import Params
from smarttrim_jax.tasks import Task
from smarttrim_jax.tasks.base import Batch, Rows, model_inputs

EXAMPLES = 2


def rehearse(task: Task, dataset: Dataset) -> None:
    """Gives the metrics of a task some examples of the data as a model might judge them; nothing is compiled.

    Outputs are zeros of the right shapes; texts, labels and metadata are those of the records.

    Args:
        task: Task of the run, all sizes resolved.
        dataset: Prepared data set of the run.

    Raises:
        ConfigError: A metric does not exist, or asks for a value that the task or the records do not have.
        DataError: The data has no `evaluation.split`, or a record of it is damaged.
    """
    scores = Scores(task.metric_names)
    data = dataclasses.replace(task.config.data, batch_size=EXAMPLES)
    batches = eval_batches(dataset, task.config.evaluation.split, data, limit=EXAMPLES)
    batch = next(iter(batches))
    real = batch["weight"] > 0

    def judged(params: Params, batch: Batch) -> Rows:
        """Computes all rows of a batch at full capacity.

        Args:
            params: The model's parameters.
            batch: Batch of the data pipeline.

        Returns:
            The rows of `Task.judge` and, where a metric asks for them, of `Task.more_rows`.
        """
        output = task.model.apply(params, *model_inputs(task.config, batch))
        rows, _ = task.judge(params, output, batch, None)
        return rows if scores.needs.isdisjoint(task.on_demand) else rows | task.more_rows(params, batch, None)

    shapes = jax.eval_shape(judged, jax.eval_shape(task.model.init, jax.random.key(0)), batch)
    rows: dict[str, Any] = {name: np.zeros(row.shape, row.dtype)[real] for name, row in shapes.items()}
    rows |= {name: batch[name][real] for name in rows.keys() & batch.keys()}
    scores.rehearse(*named_values(task, batches, batch["index"][real], rows, scores.needs))
