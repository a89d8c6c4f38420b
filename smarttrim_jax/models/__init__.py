"""Backbones, heads and presets."""

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
    "Functional",
    "FusionConfig",
    "HeadConfig",
    "Meter",
    "MeterConfig",
    "MeterOutput",
    "meter_base",
    "meter_macs",
    "meter_small",
    "meter_tiny",
]
