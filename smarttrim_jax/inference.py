"""What a program of your own imports for inference: execution that leaves out trimmed work, and text generation."""

from smarttrim_jax.execution.config import CutConfig, ExecutionConfig
from smarttrim_jax.execution.executor import PackedExecutor
from smarttrim_jax.execution.one_program_executor import OneProgramExecutor
from smarttrim_jax.generation import Generated, GenerationConfig, generate
from smarttrim_jax.generation.blip import write_answers, write_captions

__all__ = [
    "CutConfig",
    "ExecutionConfig",
    "Generated",
    "GenerationConfig",
    "OneProgramExecutor",
    "PackedExecutor",
    "generate",
    "write_answers",
    "write_captions",
]
