"""What the training steps, the evaluation and the commands ask of a task."""

import abc
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from smarttrim_jax.data.images import normalize
from smarttrim_jax.data.language import Language
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.metrics import NamedValues
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.trimming.gates import Trim, TrimRecord

Batch = dict[str, jax.Array]


def model_inputs(config: ExperimentConfig, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What a model's call takes: normalised images, ids and mask."""
    return normalize(batch["image"], config.pixels), batch["text_ids"], batch["text_mask"]


TaskState = dict[str, Any]
Rows = dict[str, Any]
UNKNOWN_ANSWER = "an answer that training never has"
"""Stands for the label -1."""


class Task(abc.ABC):
    """What is trained, and how it is judged.

    All methods but `named_values` and `right_answer` are pure functions of arrays.

    A pass is what `run` returns: logits, whatever else the losses need, and the `record` whose MACs the cost is of.
    What a batch's losses need beside it and without gradient (targets of a momentum model) is `given` to them; most
    tasks have nothing of the kind.

    Args:
        config: Run configuration, its sizes fitted to the data.
        language: The words of its texts and its answers.

    Attributes:
        config: the same.
        model: the model as pure functions.
        metrics: Names of the metrics that it is judged by, the primary one first; `evaluation.metrics` replaces them.
        on_demand: Names of the outputs that only `more_rows` gives.
        reads_answers: Whether it is trained on answers, which a data set of captions does not have.
    """

    metrics: tuple[str, ...]
    on_demand: tuple[str, ...] = ()
    reads_answers = False

    def __init__(self, config: ExperimentConfig, language: Language):
        self.config, self.model = config, Functional(config.model)

    def initial(self, params: Params) -> TaskState:
        """What the training state carries for the task beside parameters and optimizer."""
        return {}

    def begin(self, state: TaskState, batch: Batch) -> tuple[Any, TaskState]:
        """What the losses of a batch are given, and what the next state carries."""
        return None, {}

    def bounded(self, params: Params) -> Params:
        """The parameters within their bounds, after every update."""
        return params

    def begin_pass(self, params: Params, batch: Batch, *, key: jax.Array | None = None) -> Any:
        """What a full pass and a trimmed one have in common, computed once.

        Args:
            params: of the model.
            batch: of the data pipeline.
            key: of the full training pass.
        """
        return self.model.apply(params, *model_inputs(self.config, batch), key=key, method="prefix")

    def run(
        self,
        params: Params,
        batch: Batch,
        begun: Any,
        *,
        trim: Trim | None = None,
        key: jax.Array | None = None,
        full: Any = None,
    ) -> Any:
        """One pass over a batch.

        Args:
            params: of the model.
            batch: of the data pipeline.
            begun: by `begin_pass`.
            trim: how the trimmers decide; None runs at full capacity.
            key: of a training pass.
            full: the pass at full capacity that a trimmed one follows and shares its draws with.
        """
        return self.model.apply(params, begun, trim=trim, key=key, method="finish")

    @abc.abstractmethod
    def loss(self, output: Any, batch: Batch, given: Any) -> Float[Array, ""]:
        """The task's loss of a pass."""

    @abc.abstractmethod
    def distance(self, full: Any, trimmed: Any, batch: Batch, given: Any) -> Float[Array, ""]:
        """Self-distillation: how far the trimmed pass is from the full one, which gets no gradient."""

    @abc.abstractmethod
    def accuracy(self, output: Any, batch: Batch) -> Float[Array, ""]:
        """How well a training pass does, for the log."""

    @abc.abstractmethod
    def judge(self, params: Params, output: Any, batch: Batch, trim: Trim | None) -> tuple[Rows, TrimRecord]:
        """What `named_values` needs of every example, and the record of what was computed.

        Args:
            params: of the model.
            output: of the model's call on the batch, by whatever execution.
            batch: of the data pipeline.
            trim: how the trimmers decided.

        Returns:
            Arrays by name, each with a first axis of examples; and the record.
        """

    def more_rows(self, params: Params, batch: Batch, trim: Trim | None) -> Rows:
        """What `named_values` needs beside for the outputs `on_demand`; arguments and rows as in `judge`."""
        return {}

    @abc.abstractmethod
    def named_values(self, rows: Rows) -> tuple[NamedValues, NamedValues]:
        """What metrics are given, on the host.

        Args:
            rows: Those of `judge` for some examples, and those of `more_rows` where they were asked for.

        Returns:
            Outputs and targets by name: arrays with a first axis of examples, and lists of texts.
        """

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the metrics of its evaluations, the primary one first."""
        return self.config.evaluation.metrics or self.metrics

    @abc.abstractmethod
    def right_answer(self, example: Batch) -> str:
        """What should be answered to an example, on the host."""


class Choice(NamedTuple):
    """What a model chooses.

    Attributes:
        number: of the choice in `ChoosingTask.choices`.
        probability: of the choice.
        record: of what was computed for it.
    """

    number: Int[Array, " batch"]
    probability: Float[Array, " batch"]
    record: TrimRecord


class ChoosingTask(Task):
    """A task whose answer is a choice among few.

    Attributes:
        choices: their names.
    """

    metrics = ("accuracy",)
    choices: tuple[str, ...]

    @abc.abstractmethod
    def choose(self, params: Params, output: Any, trim: Trim | None) -> Choice:
        """The choice for every example; arguments as in `judge`."""

    def judge(self, params: Params, output: Any, batch: Batch, trim: Trim | None) -> tuple[Rows, TrimRecord]:
        """What the metrics need of every example; see `Task.judge`."""
        choice = self.choose(params, output, trim)
        rows = {"choice": choice.number, "probability": choice.probability, "label": batch["label"]}
        return rows, choice.record

    def named_values(self, rows: Rows) -> tuple[NamedValues, NamedValues]:
        """Outputs `choice` (its number), `answer` (its text) and `probability`; targets `label` and `answer`."""
        outputs = {"choice": rows["choice"], "answer": self._texts_of(rows["choice"])}
        targets = {"label": rows["label"], "answer": self._texts_of(rows["label"])}
        return (
            NamedValues("output", outputs | {"probability": rows["probability"]}, self.on_demand),
            NamedValues("target", targets),
        )

    def _texts_of(self, numbers: Int[np.ndarray, " examples"]) -> list[str]:
        return [self.choices[number] if number >= 0 else UNKNOWN_ANSWER for number in numbers]

    def right_answer(self, example: Batch) -> str:
        """What should be answered to an example; see `Task.right_answer`."""
        (answer,) = self._texts_of(np.reshape(example["label"], 1))
        return answer
