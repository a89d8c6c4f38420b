"""Layers: attention, image and text encoders, and stacks of equal layers."""

from smarttrim_jax.nn.attention import Attention
from smarttrim_jax.nn.layer_stack import stack
from smarttrim_jax.nn.layers import PostNormLayer, PreNormLayer

__all__ = ["Attention", "PostNormLayer", "PreNormLayer", "stack"]
