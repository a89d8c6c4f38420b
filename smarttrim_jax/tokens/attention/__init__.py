"""Scaled dot-product attention over tokens of which some are closed: one door, and what lies behind it."""

from smarttrim_jax.tokens.attention.door import Kernel, attend
from smarttrim_jax.tokens.attention.gated import gated_softmax

__all__ = ["Kernel", "attend", "gated_softmax"]
