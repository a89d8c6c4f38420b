"""Backbones, heads and presets."""

from smarttrim_jax.models.blip import (
    Blip,
    BlipConfig,
    BlipOutput,
    blip_base,
    blip_large,
    blip_macs,
    blip_small,
    blip_tiny,
    make_blip,
)
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.models.meter import (
    FusionConfig,
    Meter,
    MeterConfig,
    MeterOutput,
    meter_base,
    meter_macs,
    meter_small,
    meter_tiny,
)

__all__ = [
    "Blip",
    "BlipConfig",
    "BlipOutput",
    "Functional",
    "FusionConfig",
    "HeadConfig",
    "Meter",
    "MeterConfig",
    "MeterOutput",
    "blip_base",
    "blip_large",
    "blip_macs",
    "blip_small",
    "blip_tiny",
    "make_blip",
    "meter_base",
    "meter_macs",
    "meter_small",
    "meter_tiny",
]
