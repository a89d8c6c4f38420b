"""Sort-of-CLEVR (Santoro et al. 2017) with a METER of width 128: the question decides which patches matter.

Six objects are not learnt from random weights, but from a model that knows three; then trim-tuned from there for any
budget. 22 minutes on two CPU cores, then 87 and 32 minutes on one:

    python -m smarttrim_jax.train --config=configs/sort_of_clevr.py:finetune,objects=3,steps=6000 --workdir=runs/three
    python -m smarttrim_jax.train --config=configs/sort_of_clevr.py:finetune --workdir=runs/soc \
        --config.init_from=runs/three
    python -m smarttrim_jax.train --config=configs/sort_of_clevr.py:trim,speedup=3 --workdir=runs/soc3 \
        --config.init_from=runs/soc

    test split, questions about one object / about how objects relate: full 99.75 % / 93.6 %; trimmed 99.65 % / 94.2 %
    at 3.02x fewer MACs. The best constant answers are right in 34 %; on relations a relation network has 94 %, a CNN
    with an MLP 63 % (Santoro et al. 2017)

Questions about one of two objects alone are learnt in 29 minutes on one CPU core (docs/method.md):

    python -m smarttrim_jax.train --workdir=runs/two \
        --config=configs/sort_of_clevr.py:finetune,objects=2,kinds=non_relational,steps=5000

Both variants take `objects`, `kinds` and `steps`; what is trim-tuned must be what was fine-tuned.
"""

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from ml_collections import ConfigDict

from smarttrim_jax import CostConfig, HeadConfig, meter_tiny
from smarttrim_jax.configuration import Settings, to_dict
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, OptimizerConfig, ScheduleConfig
from smarttrim_jax.options import read_variant
from smarttrim_jax.ranges import PositiveInt, SpeedUp, between


@dataclasses.dataclass(frozen=True)
class Options(Settings):
    """Options of both variants.

    Attributes:
        objects: Number of objects of every image.
        kinds: Which questions are asked: about one object, about how objects relate, or both.
        steps: Steps of 64 questions; two objects and questions about one of them need the least.
    """

    objects: Annotated[int, between(2, 6)] = 6
    kinds: Literal["both", "non_relational", "relational"] = "both"
    steps: PositiveInt = 15_000


@dataclasses.dataclass(frozen=True)
class TrimOptions(Options):
    """Options of `:trim`.

    Attributes:
        speedup: MACs of the full model over those of the trimmed one.
    """

    steps: PositiveInt = 3000
    speedup: SpeedUp = 2.0


VARIANTS: dict[str, type[Options]] = {"finetune": Options, "trim": TrimOptions}


def get_config(argument: str = "finetune") -> ConfigDict:
    """Builds the experiment.

    Args:
        argument: "finetune" or "trim"; behind a comma its options, as in "trim,objects=2,speedup=3".

    Returns:
        Settings of the experiment.

    Raises:
        ConfigError: There is no such variant, or it has no such option or value.
    """
    options = read_variant(argument, VARIANTS, "sort_of_clevr")
    trims = isinstance(options, TrimOptions)
    config = ExperimentConfig(
        # A patch of 12 pixels can hold an object, which is 11 pixels wide; one of 8 always cuts it.
        model=meter_tiny(72, patch_size=12, heads=(HeadConfig("vqa", "classifier", 0),)),
        data=DataConfig(
            dataset="sort_of_clevr",
            options=f"objects={options.objects},kinds={options.kinds}",
            image_size=72,
            text_length=16,
            batch_size=64,
        ),
        # Twice the rate finds where objects are, but not what they are (docs/method.md).
        optimizer=OptimizerConfig(
            learning_rate=2.5e-4, warmup_fraction=min(0.1, 600 / options.steps), trimmer=5.0, clip_norm=1.0
        ),
        cost=CostConfig(target_speedup=options.speedup if isinstance(options, TrimOptions) else 2.0),
        schedule=ScheduleConfig(full_steps=0 if trims else options.steps, trim_steps=options.steps if trims else 0),
        evaluation=EvaluationConfig(metrics=("accuracy", "accuracy_by_type")),
    )
    return ConfigDict(to_dict(config))


def sweep(argument: str = "finetune") -> Iterator[dict[str, Any]]:
    """Yields the settings that `smarttrim_jax.sweep` tries: speed-ups, or seeds where nothing is trimmed.

    Args:
        argument: As that of `get_config`.

    Yields:
        Values by dotted config key, for each run.

    Raises:
        ConfigError: There is no such variant, or it has no such option or value.
    """
    if isinstance(read_variant(argument, VARIANTS, "sort_of_clevr"), TrimOptions):
        yield from ({"cost.target_speedup": speedup} for speedup in (2.0, 3.0))
    else:
        yield from ({"seed": seed} for seed in range(3))
