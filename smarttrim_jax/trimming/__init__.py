"""Gates, the policies that decide about them, what gated computation costs, and how training controls the cost."""

from smarttrim_jax.trimming.calibration import SpeedDial, calibrate
from smarttrim_jax.trimming.capacity import CapacityConfig
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.cost import (
    CostConfig,
    cost_loss,
    initial_multiplier,
    misses,
    retention,
    steer,
    update_multiplier,
)
from smarttrim_jax.trimming.curriculum import CurriculumConfig, noise_level, target_ratio
from smarttrim_jax.trimming.gates import GateKey, Gates, Trim, TrimRecord, decide, open_gates
from smarttrim_jax.trimming.macs import LayerShape, attention_macs, layer_macs
from smarttrim_jax.trimming.policies import (
    ClassAttentionPolicyConfig,
    Decided,
    ForcedPolicyConfig,
    ImportancePolicyConfig,
    LayerContext,
    LearnedPolicyConfig,
    MergePolicyConfig,
    Policy,
    PolicyConfig,
    RandomPolicyConfig,
    RunTrimming,
    SideShape,
    register_policy,
)
from smarttrim_jax.trimming.trimmers import CrossModalTokenTrimmer, HeadTrimmer, TokenTrimmer

__all__ = [
    "CapacityConfig",
    "ClassAttentionPolicyConfig",
    "CostConfig",
    "CrossModalTokenTrimmer",
    "CurriculumConfig",
    "Decided",
    "ForcedPolicyConfig",
    "GateKey",
    "Gates",
    "HeadTrimmer",
    "ImportancePolicyConfig",
    "LayerContext",
    "LayerShape",
    "LearnedPolicyConfig",
    "MergePolicyConfig",
    "Policy",
    "PolicyConfig",
    "RandomPolicyConfig",
    "RunTrimming",
    "SideShape",
    "SpeedDial",
    "TokenTrimmer",
    "Trim",
    "TrimRecord",
    "TrimmingConfig",
    "attention_macs",
    "calibrate",
    "cost_loss",
    "decide",
    "initial_multiplier",
    "layer_macs",
    "misses",
    "noise_level",
    "open_gates",
    "register_policy",
    "retention",
    "steer",
    "target_ratio",
    "update_multiplier",
]
