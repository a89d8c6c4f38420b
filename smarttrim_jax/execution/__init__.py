"""Packed execution, which removes closed tokens from memory so that trimming saves time."""

from smarttrim_jax.execution.config import CutConfig, ExecutionConfig
from smarttrim_jax.execution.executor import PackedExecutor
from smarttrim_jax.execution.one_program_executor import OneProgramExecutor

__all__ = ["CutConfig", "ExecutionConfig", "OneProgramExecutor", "PackedExecutor"]
