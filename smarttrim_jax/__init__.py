"""SmartTrim for JAX: vision-language models that drop, per example and layer, the tokens and heads they do not need.

    from smarttrim_jax import Functional, Trim, meter_base

Names are imported when first used, so that `import smarttrim_jax` costs nothing.
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

from smarttrim_jax.version import __version__

if TYPE_CHECKING:
    from smarttrim_jax.data.config import DataConfig
    from smarttrim_jax.models import (
        Functional,
        FusionConfig,
        HeadConfig,
        Meter,
        MeterConfig,
        MeterOutput,
        meter_base,
        meter_macs,
        meter_small,
        meter_tiny,
    )
    from smarttrim_jax.nn.text import TextConfig
    from smarttrim_jax.nn.vision import VisionConfig
    from smarttrim_jax.objectives.distillation import distillation_loss
    from smarttrim_jax.objectives.task import task_loss
    from smarttrim_jax.objectives.total import ObjectiveConfig, task_terms
    from smarttrim_jax.tokens import Padded, Tokens
    from smarttrim_jax.training.experiment import ExperimentConfig
    from smarttrim_jax.training.run import evaluate, train
    from smarttrim_jax.trimming.calibration import SpeedDial, calibrate
    from smarttrim_jax.trimming.cost import CostConfig, cost_loss, macs_ratio
    from smarttrim_jax.trimming.curriculum import CurriculumConfig, target_ratio
    from smarttrim_jax.trimming.gates import Gates, Trim, TrimRecord
    from smarttrim_jax.trimming.trimmers import (
        CrossModalTokenTrimmer,
        HeadTrimmer,
        RunTrimming,
        TokenTrimmer,
        TrimmerConfig,
        TrimmingConfig,
    )

_HOMES = {
    "models": (
        "Functional FusionConfig HeadConfig Meter MeterConfig MeterOutput meter_base meter_macs meter_small meter_tiny"
    ),
    "data.config": "DataConfig",
    "nn.text": "TextConfig",
    "nn.vision": "VisionConfig",
    "objectives.distillation": "distillation_loss",
    "objectives.task": "task_loss",
    "objectives.total": "ObjectiveConfig task_terms",
    "tokens": "Padded Tokens",
    "training.experiment": "ExperimentConfig",
    "training.run": "evaluate train",
    "trimming.calibration": "SpeedDial calibrate",
    "trimming.cost": "CostConfig cost_loss macs_ratio",
    "trimming.curriculum": "CurriculumConfig target_ratio",
    "trimming.gates": "Gates Trim TrimRecord",
    "trimming.trimmers": (
        "CrossModalTokenTrimmer HeadTrimmer RunTrimming TokenTrimmer TrimmerConfig TrimmingConfig"
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [*_HOME_OF, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'smarttrim_jax' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"smarttrim_jax.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def _check_versions() -> None:
    """flax 0.12.8 and older cannot import nnx with jax 0.11 and newer; say so instead of an obscure error."""
    flax, jax = (
        tuple(int(part) for part in importlib.metadata.version(name).split(".")[:3]) for name in ("flax", "jax")
    )
    if jax >= (0, 11) and flax < (0, 12, 9):
        raise ImportError(
            "this flax is too old for this jax: run `pip install -U 'flax>=0.12.9'`, "
            "or stay with flax 0.12.8 and jax 0.10.2"
        )


_check_versions()
