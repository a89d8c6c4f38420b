"""Packed execution: the time that trimming really saves."""

from smarttrim_jax.inference.buckets import ExecutionConfig
from smarttrim_jax.inference.executor import PackedExecutor

__all__ = ["ExecutionConfig", "PackedExecutor"]
