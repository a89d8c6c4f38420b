"""Backbones, heads and presets."""

from smarttrim_jax.models.blip import (
    Blip,
    BlipConfig,
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
    meter_base,
    meter_macs,
    meter_small,
    meter_tiny,
)
from smarttrim_jax.models.output import Output

__all__ = [
    "Blip",
    "BlipConfig",
    "Functional",
    "FusionConfig",
    "HeadConfig",
    "Meter",
    "MeterConfig",
    "Output",
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
