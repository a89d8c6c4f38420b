"""METER: CLIP-ViT and RoBERTa with lock-step co-attention, and trimmers."""

from smarttrim_jax.models.config import register_backbone
from smarttrim_jax.models.meter.config import FusionConfig, MeterConfig
from smarttrim_jax.models.meter.macs import meter_macs
from smarttrim_jax.models.meter.model import Meter
from smarttrim_jax.models.meter.presets import meter_base, meter_small, meter_tiny

register_backbone("meter", MeterConfig)

__all__ = [
    "FusionConfig",
    "Meter",
    "MeterConfig",
    "meter_base",
    "meter_macs",
    "meter_small",
    "meter_tiny",
]
