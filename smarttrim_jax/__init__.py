"""SmartTrim for JAX: vision-language models that drop, per example and layer, the tokens and heads they do not need.

Training, data and commands live in their own modules, so that importing the package costs no more than flax;
`load_model` and `TrainedModel` are imported when they are first asked for.
"""

from typing import TYPE_CHECKING, Any

from smarttrim_jax.compatibility import check_versions

check_versions()

from smarttrim_jax.models import (
    Blip,
    BlipConfig,
    Functional,
    FusionConfig,
    HeadConfig,
    Meter,
    MeterConfig,
    ModelConfig,
    Output,
    VisionLanguageModel,
    blip_base,
    blip_large,
    blip_macs,
    blip_small,
    blip_tiny,
    meter_base,
    meter_macs,
    meter_small,
    meter_tiny,
    register_backbone,
)
from smarttrim_jax.nn.text import TextConfig
from smarttrim_jax.nn.vision import VisionConfig
from smarttrim_jax.objectives.losses import distillation_loss, task_loss
from smarttrim_jax.objectives.total import ObjectiveConfig
from smarttrim_jax.tokens import Padded, Tokens
from smarttrim_jax.trimming.calibration import SpeedDial, calibrate
from smarttrim_jax.trimming.capacity import CapacityConfig
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.cost import CostConfig, cost_loss
from smarttrim_jax.trimming.curriculum import CurriculumConfig, target_ratio
from smarttrim_jax.trimming.gates import Gates, Trim, TrimRecord
from smarttrim_jax.trimming.policies import (
    ClassAttentionPolicyConfig,
    ImportancePolicyConfig,
    LearnedPolicyConfig,
    MergePolicyConfig,
    RandomPolicyConfig,
    RunTrimming,
    register_policy,
)
from smarttrim_jax.trimming.trimmers import CrossModalTokenTrimmer, HeadTrimmer, TokenTrimmer
from smarttrim_jax.version import __version__

if TYPE_CHECKING:
    from smarttrim_jax.serving import TrainedModel, load_model

__all__ = [
    "Blip",
    "BlipConfig",
    "CapacityConfig",
    "ClassAttentionPolicyConfig",
    "CostConfig",
    "CrossModalTokenTrimmer",
    "CurriculumConfig",
    "Functional",
    "FusionConfig",
    "Gates",
    "HeadConfig",
    "HeadTrimmer",
    "ImportancePolicyConfig",
    "LearnedPolicyConfig",
    "MergePolicyConfig",
    "Meter",
    "MeterConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "Output",
    "Padded",
    "RandomPolicyConfig",
    "RunTrimming",
    "SpeedDial",
    "TextConfig",
    "TokenTrimmer",
    "Tokens",
    "TrainedModel",
    "Trim",
    "TrimRecord",
    "TrimmingConfig",
    "VisionConfig",
    "VisionLanguageModel",
    "__version__",
    "blip_base",
    "blip_large",
    "blip_macs",
    "blip_small",
    "blip_tiny",
    "calibrate",
    "cost_loss",
    "distillation_loss",
    "load_model",
    "meter_base",
    "meter_macs",
    "meter_small",
    "meter_tiny",
    "register_backbone",
    "register_policy",
    "target_ratio",
    "task_loss",
]


def __getattr__(name: str) -> Any:
    if name in ("TrainedModel", "load_model"):
        from smarttrim_jax import serving

        return getattr(serving, name)
    raise AttributeError(f"module 'smarttrim_jax' has no attribute '{name}'")
