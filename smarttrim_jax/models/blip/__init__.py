"""BLIP: a vision transformer, and text models that read it, trimmed."""

from typing import Any

from flax import nnx

from smarttrim_jax.models.blip.caption import BlipCaption
from smarttrim_jax.models.blip.config import BlipConfig
from smarttrim_jax.models.blip.macs import blip_macs
from smarttrim_jax.models.blip.model import Blip
from smarttrim_jax.models.blip.nlvr2 import BlipNlvr2
from smarttrim_jax.models.blip.presets import blip_base, blip_large, blip_small, blip_tiny
from smarttrim_jax.models.blip.retrieval import BlipRetrieval, Encoded
from smarttrim_jax.models.blip.vqa import BlipVqa


def make_blip(config: BlipConfig, *, rngs: nnx.Rngs) -> Blip:
    """The model of the configuration's task.

    Args:
        config: of the model.
        rngs: for the initial weights.
    """
    models: dict[str, type[Any]] = {
        "vqa": BlipVqa,
        "nlvr2": BlipNlvr2,
        "caption": BlipCaption,
        "retrieval": BlipRetrieval,
    }
    return models[config.task](config, rngs=rngs)


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
    "make_blip",
]
