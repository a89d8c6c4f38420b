"""Everything a run is made of, as one frozen configuration."""

import dataclasses
from typing import Literal

from smarttrim_jax.data.config import DataConfig, Start
from smarttrim_jax.data.images import Preset
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.models.blip import BlipConfig
from smarttrim_jax.models.execution import ExecutionConfig
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.objectives.retrieval import RetrievalConfig
from smarttrim_jax.objectives.total import ObjectiveConfig
from smarttrim_jax.training.optimizer import OptimizerConfig
from smarttrim_jax.training.sharding import MeshConfig
from smarttrim_jax.trimming.capacity import CapacityConfig
from smarttrim_jax.trimming.cost import CostConfig
from smarttrim_jax.trimming.curriculum import CurriculumConfig
from smarttrim_jax.trimming.trimmers import RunTrimming

Generator = Literal["threefry2x32", "rbg", "unsafe_rbg"]
"""Of random numbers, by JAX's names."""
BLIP_START: dict[str, Start] = {"vqa": "[ENC]", "nlvr2": "[ENC]", "retrieval": "[ENC]", "caption": "[DEC]"}
"""What the texts of BLIP's tasks begin with."""


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """How long, and how often what.

    Attributes:
        full_steps: steps at full capacity first: plain fine-tuning, half the cost of a trimming step.
        trim_steps: steps of trim-tuning after them; the curriculum runs over these.
        log_every: steps between two lines of metrics.
        save_every: steps between two checkpoints.
        keep: checkpoints kept.
        tensorboard: write TensorBoard files too.
    """

    full_steps: int = 0
    trim_steps: int = 1000
    log_every: int = 20
    save_every: int = 500
    keep: int = 2
    tensorboard: bool = True

    def __post_init__(self) -> None:
        if self.full_steps < 0 or self.trim_steps < 0 or self.total_steps == 0:
            raise ConfigError("full_steps and trim_steps must not be negative, and one of them positive")
        if self.log_every < 1:
            raise ConfigError(f"log_every is {self.log_every}; it must be at least 1")

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.full_steps + self.trim_steps


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation and the calibration of the speed dial.

    Attributes:
        split: reported at the end of training.
        examples: of the split, its first ones at most; 0 takes all.
        batch_size: examples at a time.
        calibration_examples: held-out training examples that the dial is measured on, at most.
        speedups: where the dial is measured exactly, beside the target.
    """

    split: str = "test"
    examples: int = 0
    batch_size: int = 128
    calibration_examples: int = 4096
    speedups: tuple[float, ...] = (1.5, 2.0, 2.5, 3.0)

    def __post_init__(self) -> None:
        if self.examples < 0:
            raise ConfigError(f"evaluation.examples is {self.examples}; it must not be negative (0 takes all)")


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """One run.

    Attributes:
        model: sizes and trimming; a vocabulary or number of answers of 0 is taken from the data.
        data: what is read.
        task: what is trained: one of METER's heads, or the BLIP model's task.
        seed: of the initial weights, dropout and sampled gates.
        generator: of the numbers of dropout and sampled gates: "threefry2x32" draws the same on every mesh, "rbg" and
            "unsafe_rbg" the device's own, which cost a TPU much less to draw and to compile.
        init_from: where the first parameters come from: another run's workdir, an official METER's or BLIP's weight
            file, or "packages" for METER's encoders of `pretrained.packages`, with their vocabulary.
        temperature: of the sampled gates.
        pixels: how images are normalised.
        retrieval: of BLIP's retrieval alone.
        execution: of packed execution, in evaluation and inference.
    """

    model: MeterConfig | BlipConfig
    data: DataConfig
    task: str = "vqa"
    seed: int = 0
    generator: Generator = "threefry2x32"
    init_from: str = ""
    temperature: float = 1.0
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

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ConfigError(f"temperature is {self.temperature}; it must be positive")
        if self.task not in self.model.tasks:
            raise ConfigError(f"task is '{self.task}', but the model is for: {', '.join(self.model.tasks)}")
        start = text_start(self.model)
        if self.data.start != start:
            raise ConfigError(f"data.start is '{self.data.start}', but texts for this model begin with '{start}'")
        if self.schedule.trim_steps and self.model.trimming is None:
            raise ConfigError("trim_steps asks for trimming, but model.trimming is None")
        if self.schedule.trim_steps:
            _check_capacity(self.capacity, self.model)


def text_start(model: MeterConfig | BlipConfig) -> Start:
    """What the texts of a model begin with, see `DataConfig.start`."""
    return BLIP_START[model.task] if isinstance(model, BlipConfig) else ""


def _check_capacity(capacity: CapacityConfig, model: MeterConfig | BlipConfig) -> None:
    """Whether tokens are closed before they shall leave memory.

    Raises:
        ConfigError: they are not.
    """
    if "text" in capacity.sides and isinstance(model, BlipConfig):
        raise ConfigError("capacity.text is for METER; BLIP's texts are not trimmed before they meet the image")
    depths = {"image": model.vision.depth, "text": model.text.depth}
    for side in capacity.sides:
        where: RunTrimming = getattr(model.trimming, side)
        if not where.tokens:
            raise ConfigError(f"capacity.{side} needs closed tokens, but model.trimming.{side}.tokens is False")
        first, layer = where.first_layer, capacity.layer(side, depths[side])
        if not first < layer < depths[side]:
            raise ConfigError(
                f"capacity.after lets tokens leave before layer {layer} of the {side} encoder, which closes them "
                f"from layer {first} on and has {depths[side]}; choose one between, or set capacity.{side} to 0"
            )
