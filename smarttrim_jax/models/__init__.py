"""Backbones (METER and BLIP), their heads, and presets of their sizes."""

from smarttrim_jax.models.base import Output, VisionLanguageModel
from smarttrim_jax.models.blip import (
    Blip,
    BlipConfig,
    blip_base,
    blip_large,
    blip_macs,
    blip_small,
    blip_tiny,
)
from smarttrim_jax.models.config import DatasetSizes, ModelConfig, register_backbone
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.models.layers import stack_policies
from smarttrim_jax.models.meter import (
    FusionConfig,
    Meter,
    MeterConfig,
    meter_base,
    meter_macs,
    meter_small,
    meter_tiny,
)
from smarttrim_jax.models.segments import LayerRun, RunSide, Segment, State

__all__ = [
    "Blip",
    "BlipConfig",
    "DatasetSizes",
    "Functional",
    "FusionConfig",
    "HeadConfig",
    "LayerRun",
    "Meter",
    "MeterConfig",
    "ModelConfig",
    "Output",
    "RunSide",
    "Segment",
    "State",
    "VisionLanguageModel",
    "blip_base",
    "blip_large",
    "blip_macs",
    "blip_small",
    "blip_tiny",
    "meter_base",
    "meter_macs",
    "meter_small",
    "meter_tiny",
    "register_backbone",
    "stack_policies",
]
