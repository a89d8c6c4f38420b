"""Trimming policies, which decide the tokens and heads that a layer can do without."""

from smarttrim_jax.trimming.policies.base import (
    Decided,
    LayerContext,
    Policy,
    PolicyConfig,
    RunTrimming,
    SideShape,
    register_policy,
)
from smarttrim_jax.trimming.policies.forced import ForcedPolicyConfig
from smarttrim_jax.trimming.policies.learned import LearnedPolicyConfig
from smarttrim_jax.trimming.policies.random import RandomPolicyConfig

register_policy("learned", LearnedPolicyConfig)
register_policy("forced", ForcedPolicyConfig)
register_policy("random", RandomPolicyConfig)

__all__ = [
    "Decided",
    "ForcedPolicyConfig",
    "LayerContext",
    "LearnedPolicyConfig",
    "Policy",
    "PolicyConfig",
    "RandomPolicyConfig",
    "RunTrimming",
    "SideShape",
    "register_policy",
]
