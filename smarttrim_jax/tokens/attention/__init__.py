"""Scaled dot-product attention over tokens of which some are closed: the kernels, and the choice between them."""

from smarttrim_jax.tokens.attention.dispatch import Kernel, attend
from smarttrim_jax.tokens.attention.plain import gated_softmax

__all__ = ["Kernel", "attend", "gated_softmax"]
