"""The flag of the folder that a command works on, shared by `train` and the commands for trained models."""

from smarttrim_jax.command_line.typed_flags import define
from smarttrim_jax.ranges import Path

WORKDIR = define(
    "workdir", Path, None, "Folder of a run: its configuration, checkpoints, metrics and report; or of a saved model."
)
