"""Packed execution: the time that trimming really saves."""

from smarttrim_jax.execution.config import ExecutionConfig
from smarttrim_jax.execution.executor import PackedExecutor

__all__ = ["ExecutionConfig", "PackedExecutor"]
