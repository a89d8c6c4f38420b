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
    """Prepares the positional arguments of a model's call.

    Args:
        config: Run configuration; its `pixels` name the normalisation of images.
        batch: Batch with `image` uint8 `[batch, images, size, size, 3]`, `text_ids` and `text_mask` int32
            `[batch, tokens]`.

    Returns:
        Normalised images float32 `[batch, images, size, size, 3]`, token ids `[batch, tokens]` and mask
        `[batch, tokens]` (1 for tokens, 0 for padding).
    """
    return normalize(batch["image"], config.pixels), batch["text_ids"], batch["text_mask"]


TaskState = dict[str, Any]
Rows = dict[str, Any]
UNKNOWN_ANSWER = "an answer that training never has"
"""Name of the label -1, an answer that is not among the classes."""


class Task(abc.ABC):
    """What is trained, and how it is judged.

    All methods but `named_values` and `right_answer` are pure functions of arrays.

    A pass is what `run` returns: logits, whatever else the losses need, and the `record` of gates whose MACs enter
    the cost. Values that the losses of a batch need besides the passes, without gradient (for example the targets of
    a momentum model), are computed by `begin` and handed to the losses as `given`. Most tasks have none.

    Args:
        config: Run configuration; sizes that depend on the data must be resolved.
        language: Tokenizer of the texts and names of the answers.

    Attributes:
        config: Run configuration.
        model: The model as pure functions of its parameters.
        metrics: Names of the metrics of the task, the primary one first. The setting `evaluation.metrics` replaces
            them.
        on_demand: Names of the outputs that only `more_rows` computes.
        reads_answers: Whether training needs answers, which a data set of captions does not have.
    """

    metrics: tuple[str, ...]
    on_demand: tuple[str, ...] = ()
    reads_answers = False

    def __init__(self, config: ExperimentConfig, language: Language):
        self.config, self.model = config, Functional(config.model)

    def initial(self, params: Params) -> TaskState:
        """Creates what the training state carries for the task besides parameters and optimizer.

        Args:
            params: The model's initial parameters.

        Returns:
            Arrays by name, which the training state holds beside `params`, `opt_state`, `step` and `multiplier`.
            Empty for tasks without a state of their own.
        """
        return {}

    def begin(self, state: TaskState, batch: Batch) -> tuple[Any, TaskState]:
        """Computes, once per training step and without gradient, what the losses need besides the passes.

        Args:
            state: Whole training state, including the entries of `initial`.
            batch: Batch of the data pipeline.

        Returns:
            The value handed to `loss` and `distance` as `given`, and the task's entries of the next training state.
        """
        return None, {}

    def bounded(self, params: Params) -> Params:
        """Brings parameters back within their bounds; called after every update.

        Args:
            params: The model's updated parameters.

        Returns:
            Parameters of the same structure. The base class changes nothing.
        """
        return params

    def begin_pass(self, params: Params, batch: Batch, *, key: jax.Array | None = None) -> Any:
        """Computes what a full pass and a trimmed one have in common, so that both share it.

        Args:
            params: The model's parameters.
            batch: Batch of the data pipeline.
            key: Random key of the full pass (dropout); None for a deterministic pass.

        Returns:
            The state behind the layers that never trim, which `run` continues from.
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
        """Runs one pass over a batch, from what `begin_pass` computed to the task's heads.

        Args:
            params: The model's parameters.
            batch: Batch of the data pipeline.
            begun: Result of `begin_pass` for the same parameters and batch.
            trim: How the trimmers decide; None runs at full capacity.
            key: Random key of this pass (dropout and sampled gates); None for a deterministic pass.
            full: The pass at full capacity, when a trimmed pass follows it and must reuse its random choices
                (retrieval's negatives).

        Returns:
            The pass: the model's `Output`, or a class of the task's own with a `record`.
        """
        return self.model.apply(params, begun, trim=trim, key=key, method="finish")

    @abc.abstractmethod
    def loss(self, output: Any, batch: Batch, given: Any) -> Float[Array, ""]:
        """Computes the task's loss of a pass.

        Args:
            output: A pass of `run`.
            batch: The batch that the pass is of; `weight` `[batch]` is 0 for fillers.
            given: First result of `begin` for this batch.

        Returns:
            Scalar loss, the weighted mean over the batch.
        """

    @abc.abstractmethod
    def distance(self, full: Any, trimmed: Any, batch: Batch, given: Any) -> Float[Array, ""]:
        """Computes the self-distillation loss: how far the trimmed pass is from the full one.

        Args:
            full: The pass at full capacity. It is the teacher and gets no gradient.
            trimmed: The trimmed pass of the same batch, the student.
            batch: The batch that both passes are of.
            given: First result of `begin` for this batch.

        Returns:
            Scalar distance, the weighted mean over the batch.
        """

    @abc.abstractmethod
    def accuracy(self, output: Any, batch: Batch) -> Float[Array, ""]:
        """Measures how well a training pass does, for the log.

        Args:
            output: A pass of `run`.
            batch: The batch that the pass is of.

        Returns:
            Scalar share in 0..1; what it counts is the task's choice.
        """

    @abc.abstractmethod
    def judge(self, params: Params, output: Any, batch: Batch, trim: Trim | None) -> tuple[Rows, TrimRecord]:
        """Extracts from an evaluated batch what metrics need of every example.

        Args:
            params: The model's parameters.
            output: Result of the model's call on the batch, by padded or packed execution.
            batch: Batch of the data pipeline.
            trim: How the trimmers decided; None for full capacity.

        Returns:
            Arrays by name, each with a first axis of examples, and the record of the gates of everything that was
            computed.
        """

    def more_rows(self, params: Params, batch: Batch, trim: Trim | None) -> Rows:
        """Computes what the outputs `on_demand` need; called only where a metric or a listener asks for them.

        Args:
            params: The model's parameters.
            batch: Batch of the data pipeline.
            trim: How the trimmers decide; None for full capacity.

        Returns:
            Further arrays by name, each with a first axis of examples; merged with those of `judge`.
        """
        return {}

    @abc.abstractmethod
    def named_values(self, rows: Rows) -> tuple[NamedValues, NamedValues]:
        """Converts the arrays of evaluated examples to the named values that metrics read; runs on the host.

        Args:
            rows: NumPy arrays by name, as returned by `judge` for some examples, with those of `more_rows` where they
                were asked for.

        Returns:
            Outputs and targets by name: arrays with a first axis of examples, or lists of one text per example.
        """

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the metrics that evaluations compute, the primary one first."""
        return self.config.evaluation.metrics or self.metrics

    @abc.abstractmethod
    def right_answer(self, example: Batch) -> str:
        """Names the right answer of an example as text; runs on the host.

        Args:
            example: NumPy arrays of one example, without the batch axis.

        Returns:
            The right answer as text.
        """


class Choice(NamedTuple):
    """Choices of a model among the names of a `ChoosingTask`.

    Attributes:
        number: Index of the chosen entry of `ChoosingTask.choices`, `[batch]`.
        probability: Probability of the chosen entry, `[batch]`.
        record: Gates of everything that was computed for the choice.
    """

    number: Int[Array, " batch"]
    probability: Float[Array, " batch"]
    record: TrimRecord


class ChoosingTask(Task):
    """A task whose answer is a choice among a few names.

    Attributes:
        choices: Names that can be chosen, in the order of their numbers.
    """

    metrics = ("accuracy",)
    choices: tuple[str, ...]

    @abc.abstractmethod
    def choose(self, params: Params, output: Any, trim: Trim | None) -> Choice:
        """Chooses an answer for every example.

        Args:
            params: The model's parameters.
            output: Result of the model's call on the batch, by padded or packed execution.
            trim: How the trimmers decided; None for full capacity.

        Returns:
            The choices, their probabilities, and the record of what was computed.
        """

    def judge(self, params: Params, output: Any, batch: Batch, trim: Trim | None) -> tuple[Rows, TrimRecord]:
        """Makes the choices of an evaluated batch; see `Task.judge`.

        Args:
            params: The model's parameters.
            output: Result of the model's call on the batch.
            batch: Batch of the data pipeline.
            trim: How the trimmers decided; None for full capacity.

        Returns:
            Rows `choice`, `probability` and `label`, each `[batch]`, and the record of the choice.
        """
        choice = self.choose(params, output, trim)
        rows = {"choice": choice.number, "probability": choice.probability, "label": batch["label"]}
        return rows, choice.record

    def named_values(self, rows: Rows) -> tuple[NamedValues, NamedValues]:
        """Names choices and labels for the metrics; see `Task.named_values`.

        Args:
            rows: NumPy arrays `choice`, `probability` and `label`, each `[examples]`.

        Returns:
            Outputs `choice` (its number), `answer` (its text) and `probability`; targets `label` (the number) and
            `answer` (the text).
        """
        outputs = {"choice": rows["choice"], "answer": self._texts_of(rows["choice"])}
        targets = {"label": rows["label"], "answer": self._texts_of(rows["label"])}
        return (
            NamedValues("output", outputs | {"probability": rows["probability"]}, self.on_demand),
            NamedValues("target", targets),
        )

    def _texts_of(self, numbers: Int[np.ndarray, " examples"]) -> list[str]:
        return [self.choices[number] if number >= 0 else UNKNOWN_ANSWER for number in numbers]

    def right_answer(self, example: Batch) -> str:
        """Names the class of the example's label; see `Task.right_answer`.

        Args:
            example: Arrays of one example; `label` is read.

        Returns:
            Name of the class, or `UNKNOWN_ANSWER` for the label -1.
        """
        (answer,) = self._texts_of(np.reshape(example["label"], 1))
        return answer
