"""The configuration of a run: everything it consists of, as one frozen dataclass."""

import dataclasses
from typing import Literal

import jax

from smarttrim_jax.configuration import Settings
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.images import Preset
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.execution.config import ExecutionConfig
from smarttrim_jax.models import ModelConfig
from smarttrim_jax.objectives.retrieval import RetrievalConfig
from smarttrim_jax.objectives.total import ObjectiveConfig
from smarttrim_jax.ranges import (
    MOST_STEPS,
    Fraction,
    Name,
    NonNegativeFloat,
    NonNegativeInt,
    PathOrNone,
    PositiveFloat,
    PositiveInt,
    PositiveStepCount,
    Seed,
    ShareBelowOne,
    SpeedUp,
    StepCount,
    special_token,
)
from smarttrim_jax.sharding import MeshConfig
from smarttrim_jax.trimming.capacity import SIDES, CapacityConfig
from smarttrim_jax.trimming.cost import CostConfig
from smarttrim_jax.trimming.curriculum import CurriculumConfig
from smarttrim_jax.trimming.policies import RunTrimming

Generator = Literal["threefry2x32", "rbg", "unsafe_rbg"]
"""Generators of random numbers, by JAX's names."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Settings):
    """AdamW, its schedule and the learning-rate multipliers of the parameter groups (backbone: 1).

    Attributes:
        learning_rate: Peak rate of the backbone.
        b1: Decay of the mean of the gradients.
        b2: Decay of the mean of their squares.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled decay; like the update, it scales with the group's rate.
        schedule: Course of the rate after the warm-up; `linear` and `cosine` end at 0.
        warmup_fraction: Share of the steps in which the rate rises linearly from 0.
        clip_norm: Bound on the global norm of the gradients; 0 for none.
        accumulate: Steps whose gradients are averaged into one update.
        head: Multiplier of the task head's rate.
        cross_modal: Multiplier of the rate of fusion layers, transforms and poolers.
        trimmer: Multiplier of the trimmers' rate.
    """

    learning_rate: NonNegativeFloat = 1e-5
    b1: ShareBelowOne = 0.9
    b2: ShareBelowOne = 0.98
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_fraction: Fraction = 0.1
    clip_norm: NonNegativeFloat = 0.0
    accumulate: PositiveInt = 1
    head: NonNegativeFloat = 1.0
    cross_modal: NonNegativeFloat = 1.0
    trimmer: NonNegativeFloat = 1.0


@dataclasses.dataclass(frozen=True)
class ScheduleConfig(Settings):
    """Lengths of the phases of training, and intervals of logging and saving.

    Attributes:
        full_steps: Steps at full capacity first: plain fine-tuning, half the cost of a trimming step.
        trim_steps: Steps of trim-tuning after these; the curriculum extends over them.
        log_every: Steps between two lines of metrics.
        save_every: Steps between two checkpoints.
        keep: Number of latest checkpoints that are kept.
        writers: Where the lines of metrics go beside `metrics.jsonl`: "tensorboard", "wandb", or writers of your own
            as package.module:Name.
    """

    full_steps: StepCount = 0
    trim_steps: StepCount = 1000
    log_every: PositiveStepCount = 20
    save_every: PositiveStepCount = 500
    keep: PositiveInt = 2
    writers: tuple[Name, ...] = ("tensorboard",)

    def check(self) -> None:
        """Makes sure that the fields fit together; see `Settings.check`."""
        if not 1 <= self.total_steps <= MOST_STEPS:
            raise ConfigError(
                f"full_steps and trim_steps are {self.total_steps} together; they must be between 1 and {MOST_STEPS}"
            )

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.full_steps + self.trim_steps


@dataclasses.dataclass(frozen=True)
class EvaluationConfig(Settings):
    """Evaluation, and calibration of the speed dial.

    Attributes:
        split: The split that is reported at the end of training.
        examples: Maximum number of examples of the split, the first ones; 0 takes all.
        batch_size: Number of examples computed at a time.
        calibration_examples: Maximum number of held-out training examples on which the dial is measured.
        speedups: Speed-ups at which the dial is measured exactly, in addition to the target.
        metrics: What is computed, the primary metric first: names of this library's metrics, or your own as
            package.module:Name; those of the task if empty.
    """

    split: Name = "test"
    examples: NonNegativeInt = 0
    batch_size: PositiveInt = 128
    calibration_examples: PositiveInt = 4096
    speedups: tuple[SpeedUp, ...] = (1.5, 2.0, 2.5, 3.0)
    metrics: tuple[Name, ...] = ()


@dataclasses.dataclass(frozen=True)
class ExperimentConfig(Settings):
    """Configuration of one run.

    Attributes:
        model: Sizes and trimming; a vocabulary or number of answers of 0 is taken from the data.
        data: The data set, and how its images and texts are read.
        task: What is trained: one of METER's heads, or the BLIP model's task.
        seed: Seed of the initial weights, dropout and sampled gates.
        generator: Generator of these numbers: "threefry2x32" draws the same on every mesh, "rbg" and "unsafe_rbg" the
            device's own, which cost a TPU much less to draw and to compile.
        init_from: Where the first parameters come from: another run's workdir, an official METER's or BLIP's weight
            file, or "packages" for METER's encoders of `pretrained.packages`, with their vocabulary. Trimmers that
            do not fit, since other layers are to be trimmed, begin anew.
        temperature: Temperature of the sampled gates.
        pixels: How images are normalised.
        objective: The terms of the loss.
        retrieval: Contrastive learning, used by BLIP's retrieval only.
        cost: The budget of MACs and how strongly it is enforced.
        curriculum: How the target moves during training.
        capacity: How many tokens a trimmed training pass holds.
        optimizer: AdamW and its schedule.
        mesh: Number of devices along each axis of the mesh.
        schedule: Lengths of the phases of training, and intervals of logging and saving.
        evaluation: Evaluation and the calibration of the speed dial.
        execution: Packed execution, in evaluation and inference.
    """

    model: ModelConfig
    data: DataConfig
    task: Name = "vqa"
    seed: Seed = 0
    generator: Generator = "threefry2x32"
    init_from: PathOrNone = ""
    temperature: PositiveFloat = 1.0
    pixels: Preset = "clip"
    objective: ObjectiveConfig = ObjectiveConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    cost: CostConfig = CostConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    capacity: CapacityConfig = CapacityConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    mesh: MeshConfig = MeshConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    execution: ExecutionConfig = ExecutionConfig()

    @property
    def random_key(self) -> jax.Array:
        """The random key that all random numbers of training come from, of the seed and the generator."""
        return jax.random.key(self.seed, impl=self.generator)

    @property
    def measured_sides(self) -> tuple[str, ...]:
        """The encoders for which the curriculum measures how many tokens examples need in memory."""
        capacity = self.capacity
        if self.model.trimming is None or not capacity.measured:
            return ()
        unset = (side for side in SIDES if side not in capacity.sides)
        return tuple(side for side in unset if not _why_none_leave(side, capacity, self.model))

    def check(self) -> None:
        """Makes sure that the fields fit together; see `Settings.check`."""
        if self.task not in self.model.tasks:
            raise ConfigError(f"task is '{self.task}', but the model is for: {', '.join(self.model.tasks)}")
        start = self.model.text_start()
        if not special_token.accepts(start):
            raise ConfigError(
                f"text_start() of {type(self.model).__name__} gives '{start}'; it must be {special_token.meaning}"
            )
        if self.data.start != start:
            first = f"'{start}'; set it to that" if start else "the vocabulary's own first token; leave it empty"
            raise ConfigError(f"data.start is '{self.data.start}', but texts for this model begin with {first}")
        if self.model.image_size != self.data.image_size:
            raise ConfigError(
                f"the model's image_size is {self.model.image_size}, but data.image_size is "
                f"{self.data.image_size}; give both the same"
            )
        most = self.model.max_text_length  # 0 for a model that reads no text
        if most and self.data.text_length > most:
            raise ConfigError(
                f"data.text_length is {self.data.text_length}, but the model reads texts of at most {most} tokens; "
                "lower it, or raise the model's position table"
            )
        if self.schedule.total_steps % self.optimizer.accumulate:
            raise ConfigError(
                f"full_steps and trim_steps are {self.schedule.total_steps} together; take a multiple of "
                f"optimizer.accumulate, which is {self.optimizer.accumulate}"
            )
        if self.model.tasks[self.task] == "retrieval" and self.retrieval.queue_size % self.data.batch_size:
            raise ConfigError(
                f"retrieval.queue_size is {self.retrieval.queue_size}; it must be a multiple of data.batch_size, "
                f"{self.data.batch_size}"
            )
        if self.schedule.trim_steps:
            _check_trimming(self.model)
            _check_capacity(self.capacity, self.model)
        try:
            dataclasses.replace(self.data, batch_size=self.evaluation.batch_size)
        except ConfigError as error:
            raise ConfigError(f"evaluation: {error}") from None


def _check_trimming(model: ModelConfig) -> None:
    """Checks that the model trims something.

    Raises:
        ConfigError: It trims nothing.
    """
    if model.trimming is None:
        raise ConfigError(
            "schedule.trim_steps asks for trimming, but model.trimming is None; set trim_steps to 0, or "
            "--config.model.trimming={} for trimmers everywhere"
        )
    runs: dict[str, RunTrimming] = {name: getattr(model.trimming, name) for name in model.depths}
    if not any(run.trims(model.depths[name]) for name, run in runs.items()):
        raise ConfigError(
            "schedule.trim_steps asks for trimming, but model.trimming trims neither tokens nor heads of any layer; "
            "choose some, or set trim_steps to 0"
        )


def _check_capacity(capacity: CapacityConfig, model: ModelConfig) -> None:
    """Checks that tokens are closed before they are to leave memory.

    Raises:
        ConfigError: They are not.
    """
    for side in capacity.sides:
        if refused := _why_none_leave(side, capacity, model):
            raise ConfigError(refused)


def _why_none_leave(side: str, capacity: CapacityConfig, model: ModelConfig) -> str:
    """The reason why an encoder's tokens cannot leave memory; empty if they can."""
    if not model.can_shorten(side):
        return (
            f"capacity.{side} is {getattr(capacity, side)}, but this model has no {side} encoder whose tokens "
            "can leave memory; set it to 0"
        )
    where: RunTrimming = getattr(model.trimming, side)
    if not where.tokens:
        return f"capacity.{side} needs closed tokens, but model.trimming.{side}.tokens is False"
    depth = model.depths[side]
    first, layer = where.first_layer, capacity.point(depth)
    if not first < layer < depth:
        return (
            f"capacity.after lets tokens leave before layer {layer} of the {side} encoder, which closes them "
            f"from layer {first} on and has {depth}; choose one between, or set capacity.{side} to 0"
        )
    return ""
