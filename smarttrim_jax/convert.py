"""Turns a finished run into what other programs read.

    python -m smarttrim_jax.convert --workdir=runs/quick --export=model.jaxexport [--speedup=2] [--batch_size=1]

The file holds one program with its parameters, adaptive for every example; a process with only jax runs it (see
`inference.export`).
"""

from absl import flags

from smarttrim_jax.command_line import run_command
from smarttrim_jax.inference.export import PLATFORMS, export_run
from smarttrim_jax.training.finished import open_run

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.")
EXPORT = flags.DEFINE_string("export", None, "File to write.")
SPEEDUP = flags.DEFINE_float("speedup", None, "Speed-up in MACs; the one it was trained for by default.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "Examples of every call.", lower_bound=1)
PLATFORM = flags.DEFINE_multi_enum("platform", PLATFORMS, PLATFORMS, "Where it shall run.")


def main() -> None:
    """Runs the command."""
    run = open_run(str(WORKDIR.value))
    size = export_run(
        run,
        str(EXPORT.value),
        batch_size=BATCH_SIZE.value,
        speedup=SPEEDUP.value,
        platforms=tuple(PLATFORM.value),
    )
    print(f"wrote {EXPORT.value} ({size / 1e6:.1f} MB)")


if __name__ == "__main__":
    run_command(main, required=("workdir", "export"))
