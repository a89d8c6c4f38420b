"""What a program of your own imports for inference: execution that leaves out trimmed work, and text generation."""

from smarttrim_jax.execution.adaptive import AdaptiveConfig, adaptive_apply
from smarttrim_jax.execution.config import ExecutionConfig
from smarttrim_jax.execution.executor import PackedExecutor
from smarttrim_jax.generation import Generated, GenerationConfig, generate
from smarttrim_jax.generation.blip import write_answers, write_captions

__all__ = [
    "AdaptiveConfig",
    "ExecutionConfig",
    "Generated",
    "GenerationConfig",
    "PackedExecutor",
    "adaptive_apply",
    "generate",
    "write_answers",
    "write_captions",
]
