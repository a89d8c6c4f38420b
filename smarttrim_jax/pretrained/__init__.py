"""Official checkpoints as parameters of ours."""

from smarttrim_jax.pretrained.meter_config import MeterOverrides
from smarttrim_jax.pretrained.official import from_official

__all__ = ["MeterOverrides", "from_official"]
