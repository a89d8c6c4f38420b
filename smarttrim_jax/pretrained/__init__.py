"""Conversion between our parameters and checkpoints of METER, BLIP and the encoders that they are made of."""

from smarttrim_jax.pretrained.backbones import write_huggingface, write_official
from smarttrim_jax.pretrained.blip.encoders import with_blip_encoders
from smarttrim_jax.pretrained.blip.files import read_blip
from smarttrim_jax.pretrained.blip.official import from_official_blip
from smarttrim_jax.pretrained.blip.sizes import BlipOverrides
from smarttrim_jax.pretrained.encoders import load_encoder, with_encoders
from smarttrim_jax.pretrained.files import read_weights
from smarttrim_jax.pretrained.meter.files import read_official
from smarttrim_jax.pretrained.meter.official import from_official
from smarttrim_jax.pretrained.meter.sizes import MeterOverrides

__all__ = [
    "BlipOverrides",
    "MeterOverrides",
    "from_official",
    "from_official_blip",
    "load_encoder",
    "read_blip",
    "read_official",
    "read_weights",
    "with_blip_encoders",
    "with_encoders",
    "write_huggingface",
    "write_official",
]
