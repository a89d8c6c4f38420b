"""Packed execution, which removes closed tokens from memory so that trimming saves time."""

from smarttrim_jax.execution.config import ExecutionConfig
from smarttrim_jax.execution.executor import PackedExecutor

__all__ = ["ExecutionConfig", "PackedExecutor"]
