"""BLIP: a vision transformer, text models that read its output, and trimmers."""

from smarttrim_jax.models.blip.caption import BlipCaption
from smarttrim_jax.models.blip.config import BlipConfig
from smarttrim_jax.models.blip.macs import blip_macs
from smarttrim_jax.models.blip.model import Blip
from smarttrim_jax.models.blip.nlvr2 import BlipNlvr2
from smarttrim_jax.models.blip.presets import blip_base, blip_large, blip_small, blip_tiny
from smarttrim_jax.models.blip.retrieval import BlipRetrieval, Encoded
from smarttrim_jax.models.blip.vqa import BlipVqa
from smarttrim_jax.models.config import register_backbone

register_backbone("blip", BlipConfig)

__all__ = [
    "Blip",
    "BlipCaption",
    "BlipConfig",
    "BlipNlvr2",
    "BlipRetrieval",
    "BlipVqa",
    "Encoded",
    "blip_base",
    "blip_large",
    "blip_macs",
    "blip_small",
    "blip_tiny",
]
