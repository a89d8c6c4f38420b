"""Recipes: one task with its official settings of fine-tuning, and what is made of them by the argument of a config.

    --config=meter/vqav2:finetune          fine-tuning at full capacity, from official pre-trained weights
    --config=meter/vqav2:trim,speedup=2.5  trim-tuning from fine-tuned weights, official or those of a run
    --config=meter/vqav2:tiny              trim-tuning of a tiny model on a dozen made examples, in about a minute

A config of this kind (`configs/meter/`, `configs/blip/`) is one `Recipe`, whose methods are its functions.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from ml_collections import ConfigDict

from smarttrim_jax.configuration import Settings, to_dict
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, ScheduleConfig
from smarttrim_jax.models import HeadConfig, MeterConfig, ModelConfig, meter_tiny
from smarttrim_jax.options import read_variant
from smarttrim_jax.ranges import PositiveInt, SpeedUp
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.cost import CostConfig

TRIMMER_RATE = 2e-3
"""Peak learning rate of the trimmers, which start from nothing, whatever that of the backbone: the one at which those
of `configs/easy_vqa.py` learn."""
SPEEDUPS = (1.5, 2.0, 2.5, 3.0)
HEADS_ALONE = 1.5
"""Largest speed-up of the ablation without trimmed tokens: attention is less than half of the work."""
SIDES = ("image", "text", "cross_modal")
PARTS: tuple[dict[str, Any], ...] = (
    {},
    {"objective.distillation": 0.0},
    {"objective.full": 0.0},
    {"curriculum.fraction": 0.0},
    {"curriculum.anneal": False},
    {"model.trimming.policy.guidance": "self"},
    {"cost.kind": "ratio"},
    {f"model.trimming.{side}.heads": False for side in SIDES},
)
"""What the method is tried without, one thing at a time: nothing, self-distillation, the loss at full capacity, the
curriculum, the fading of the gates' noise, the view of the other side, MACs as the cost, trimmed heads."""
WITHOUT_TOKENS = {f"model.trimming.{side}.tokens": False for side in SIDES}
TINY_BATCH = 4


@dataclasses.dataclass(frozen=True)
class FinetuneOptions(Settings):
    """Options of `:finetune`.

    Attributes:
        seeds: Number of seeds that `sweep` tries.
    """

    seeds: PositiveInt = 3


@dataclasses.dataclass(frozen=True)
class TrimOptions(Settings):
    """Options of `:trim`.

    Attributes:
        speedup: MACs of the full model over those of the trimmed one.
        sweep: What `sweep` tries: the speed-ups of `SPEEDUPS`, or at `speedup` three seeds or `ablations`.
    """

    speedup: SpeedUp = 2.0
    sweep: Literal["speedups", "seeds", "ablations"] = "speedups"


@dataclasses.dataclass(frozen=True)
class TinyOptions(Settings):
    """Options of `:tiny`.

    Attributes:
        speedup: MACs of the full model over those of the trimmed one.
    """

    speedup: SpeedUp = 2.0


Options = FinetuneOptions | TrimOptions | TinyOptions


def in_epochs(epochs: int, *, examples: int, batch_size: int, accumulate: int = 1) -> ScheduleConfig:
    """Converts a number of epochs to a schedule of fine-tuning.

    Args:
        epochs: Number of times that every example is read.
        examples: Number of training examples.
        batch_size: Number of examples of an update.
        accumulate: Number of steps whose gradients make one update (`optimizer.accumulate`).

    Returns:
        The schedule, without trim-tuning.
    """
    return ScheduleConfig(full_steps=math.ceil(epochs * examples / batch_size) * accumulate, trim_steps=0)


def ablations(speedup: float) -> Iterator[dict[str, Any]]:
    """Yields the method without one of its parts, the whole method first.

    Args:
        speedup: MACs of the full model over those of the trimmed one, in all runs but that without trimmed tokens.

    Yields:
        Values by dotted config key, for each run.
    """
    yield from PARTS
    yield WITHOUT_TOKENS | {"cost.target_speedup": min(speedup, HEADS_ALONE)}


def made_meter(head: HeadConfig, images: int = 1) -> MeterConfig:
    """Configures a METER for the made examples, with as few layers as trim on every side: compiling takes the time.

    Args:
        head: The task's head.
        images: Images per example.

    Returns:
        The configuration, with trimmers; the vocabulary size is left to the data.
    """
    model = meter_tiny(32, heads=(head,), images=images)
    return dataclasses.replace(model, fusion=dataclasses.replace(model.fusion, depth=1))


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One task with its official settings.

    Attributes:
        name: Name of the config, for errors.
        fine_tuning: Official fine-tuning, with a model without trimmers, from pre-trained weights.
        fine_tuned: Name of the official file of fine-tuned weights, from which trim-tuning starts.
        tiny: A model of the same kind for the made examples, with trimmers; its vocabulary size is left to the data.
    """

    VARIANTS: ClassVar[Mapping[str, type[Options]]] = {
        "finetune": FinetuneOptions,
        "trim": TrimOptions,
        "tiny": TinyOptions,
    }

    name: str
    fine_tuning: ExperimentConfig
    fine_tuned: str
    tiny: ModelConfig

    def get_config(self, argument: str = "finetune") -> ConfigDict:
        """Builds the experiment.

        Args:
            argument: "finetune", "trim" or "tiny"; behind a comma its options, as in "trim,speedup=2.5".

        Returns:
            Settings of the experiment.

        Raises:
            ConfigError: There is no such variant, or it has no such option or value.
        """
        options = read_variant(argument, self.VARIANTS, self.name)
        if isinstance(options, FinetuneOptions):
            config = self.fine_tuning
        elif isinstance(options, TrimOptions):
            config = self._trim_tuning(options.speedup)
        else:
            config = self._tiny(options.speedup)
        return ConfigDict(to_dict(config))

    def sweep(self, argument: str = "finetune") -> Iterator[dict[str, Any]]:
        """Yields the settings that `smarttrim_jax.sweep` tries.

        Args:
            argument: As that of `get_config`; "trim" chooses by its option `sweep`.

        Yields:
            Values by dotted config key, for each run.

        Raises:
            ConfigError: There is no such variant, or it has no such option or value.
        """
        options = read_variant(argument, self.VARIANTS, self.name)
        if isinstance(options, FinetuneOptions):
            yield from self._seeds(options.seeds)
        elif isinstance(options, TinyOptions) or options.sweep == "speedups":
            yield from ({"cost.target_speedup": speedup} for speedup in SPEEDUPS)
        elif options.sweep == "seeds":
            yield from self._seeds(FinetuneOptions.seeds)
        else:
            yield from ablations(options.speedup)

    def _seeds(self, count: int) -> Iterator[dict[str, Any]]:
        yield from ({"seed": self.fine_tuning.seed + number} for number in range(count))

    def _trim_tuning(self, speedup: float) -> ExperimentConfig:
        """As many steps as fine-tuning has, at its learning rates."""
        official = self.fine_tuning
        rate = official.optimizer.learning_rate
        return dataclasses.replace(
            official,
            model=dataclasses.replace(official.model, trimming=TrimmingConfig()),
            init_from=self.fine_tuned,
            cost=CostConfig(target_speedup=speedup),
            optimizer=dataclasses.replace(official.optimizer, trimmer=TRIMMER_RATE / rate),
            schedule=dataclasses.replace(official.schedule, full_steps=0, trim_steps=official.schedule.full_steps),
        )

    def _tiny(self, speedup: float) -> ExperimentConfig:
        """Two updates of trim-tuning, whose steps also run the full pass, by all settings that do not name a size."""
        official = self._trim_tuning(speedup)
        data = dataclasses.replace(
            official.data,
            dataset=f"made_{official.data.dataset}",
            image_size=self.tiny.image_size,
            batch_size=TINY_BATCH,
            tokenizer="trained",
        )
        steps = 2 * official.optimizer.accumulate
        # Everything but what an extra of setup.py brings.
        metrics = tuple(metric for metric in official.evaluation.metrics if metric != "coco_captions")
        return dataclasses.replace(
            official,
            model=self.tiny,
            init_from="",
            data=data,
            retrieval=dataclasses.replace(official.retrieval, queue_size=2 * TINY_BATCH),
            schedule=ScheduleConfig(full_steps=0, trim_steps=steps, log_every=1, writers=()),
            evaluation=EvaluationConfig(
                batch_size=TINY_BATCH, calibration_examples=TINY_BATCH, speedups=(speedup,), metrics=metrics
            ),
        )
