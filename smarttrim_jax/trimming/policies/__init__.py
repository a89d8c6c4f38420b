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
from smarttrim_jax.trimming.policies.class_attention import ClassAttentionPolicyConfig
from smarttrim_jax.trimming.policies.forced import ForcedPolicyConfig
from smarttrim_jax.trimming.policies.learned import ImportancePolicyConfig, LearnedPolicyConfig
from smarttrim_jax.trimming.policies.merge import MergePolicyConfig
from smarttrim_jax.trimming.policies.random import RandomPolicyConfig

register_policy("learned", LearnedPolicyConfig)
register_policy("forced", ForcedPolicyConfig)
register_policy("random", RandomPolicyConfig)
register_policy("class_attention", ClassAttentionPolicyConfig)
register_policy("importance", ImportancePolicyConfig)
register_policy("merge", MergePolicyConfig)

__all__ = [
    "ClassAttentionPolicyConfig",
    "Decided",
    "ForcedPolicyConfig",
    "ImportancePolicyConfig",
    "LayerContext",
    "LearnedPolicyConfig",
    "MergePolicyConfig",
    "Policy",
    "PolicyConfig",
    "RandomPolicyConfig",
    "RunTrimming",
    "SideShape",
    "register_policy",
]
