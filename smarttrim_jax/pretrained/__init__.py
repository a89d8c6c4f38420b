"""Official checkpoints as parameters of ours."""

from smarttrim_jax.pretrained.blip_config import BlipOverrides
from smarttrim_jax.pretrained.meter_config import MeterOverrides
from smarttrim_jax.pretrained.official import from_official
from smarttrim_jax.pretrained.official_blip import from_official_blip

__all__ = ["BlipOverrides", "MeterOverrides", "from_official", "from_official_blip"]
