"""Packed execution: the time that trimming really saves."""

from smarttrim_jax.inference.executor import PackedExecutor
from smarttrim_jax.models.execution import ExecutionConfig

__all__ = ["ExecutionConfig", "PackedExecutor"]
