"""What all commands share: flags with the types of settings, the page of `--help`, and errors in one sentence."""

from smarttrim_jax.command_line.running import run_command
from smarttrim_jax.command_line.typed_flags import define

__all__ = ["define", "run_command"]
