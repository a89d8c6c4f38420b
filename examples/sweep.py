"""A configuration of your own, derived from one that comes with the library, and what a sweep of it tries.

    pip install easy-vqa==1.0
    python -m smarttrim_jax.sweep --config=examples/sweep.py --root=runs/policies --print
    JAX_PLATFORMS=cpu python -m smarttrim_jax.sweep --config=examples/sweep.py --root=runs/policies --index=0
    python -m smarttrim_jax.sweep --config=examples/sweep.py --root=runs/policies --gather

compares tokens drawn at random to SmartTrim's trimmers, at two speed-ups each. `--print` builds all configurations,
shows the commands of the runs and trains nothing. `--index=0` does what one task of a job array does, on the CPU:
two minutes on two cores, half a minute of them for data that the other runs share. `--gather` writes the table of the
runs that there are, and names those that are missing, with exit status 1 while there are any. Without these flags all
runs follow each other.
"""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from smarttrim_jax.configs import easy_vqa


def get_config() -> ConfigDict:
    """The library's `easy_vqa:quick`, cut down to what shows that it runs."""
    config = easy_vqa.get_config("quick")
    config.generator = "rbg"  # compiles fastest
    config.model.fusion.depth = 1
    config.data.batch_size = 32
    config.schedule.full_steps = 0
    config.schedule.trim_steps = 60
    config.evaluation.examples = 512
    config.evaluation.calibration_examples = 512
    config.evaluation.speedups = ()  # the dial is measured at the target alone
    return config


def sweep() -> Iterator[dict[str, Any]]:
    """What the runs differ in: every yield is a run, by the keys of the configuration."""
    for policy in ("random", "learned"):
        for speedup in (1.5, 2.0):
            yield {"model.trimming.policy": policy, "cost.target_speedup": speedup}
