"""Turns a finished run into what other programs read.

    python -m smarttrim_jax.convert --workdir=runs/quick --export=model.jaxexport [--speedup=2] [--batch_size=1]

The file holds one program with its parameters, adaptive for every example; a process with only jax runs it (see
`inference.export`).

    python -m smarttrim_jax.convert --workdir=runs/quick --to=official --output=meter.safetensors

The file holds the weights under the names of the official METER or BLIP, `meter.trimmers.safetensors` beside it the
trimmers (see `pretrained.official_files`).

    python -m smarttrim_jax.convert --workdir=runs/blip --to=huggingface --output=blip/model.safetensors

The same under the names of Hugging Face's BLIP, with the config.json that transformers reads it by (see
`pretrained.blip_files`).
"""

from absl import flags

from smarttrim_jax.command_line import run_command
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.inference.export import PLATFORMS, export_run
from smarttrim_jax.pretrained import write_huggingface, write_official
from smarttrim_jax.training.finished import FinishedRun, open_run

WRITERS = {"official": write_official, "huggingface": write_huggingface}

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.")
EXPORT = flags.DEFINE_string("export", None, "File to write a program to.")
SPEEDUP = flags.DEFINE_float("speedup", None, "Speed-up in MACs; the one it was trained for by default.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "Examples of every call.", lower_bound=1)
PLATFORM = flags.DEFINE_multi_enum("platform", PLATFORMS, PLATFORMS, "Where it shall run.")
TO = flags.DEFINE_enum("to", None, list(WRITERS), "Whose names weights shall have.")
OUTPUT = flags.DEFINE_string("output", None, "File to write weights to.")


def main() -> None:
    """Runs the command."""
    if (EXPORT.value is None) == (TO.value is None) or (OUTPUT.value is None) != (TO.value is None):
        raise ConfigError("say what to write: --export=FILE, or --to=official|huggingface --output=FILE.safetensors")
    run = open_run(str(WORKDIR.value))
    if TO.value is not None:
        written = WRITERS[TO.value](str(OUTPUT.value), run.config.model, run.params)
        print("wrote " + " and ".join(map(str, written)))
    else:
        _export(run, str(EXPORT.value))


def _export(run: FinishedRun, path: str) -> None:
    size = export_run(
        run,
        path,
        batch_size=BATCH_SIZE.value,
        speedup=SPEEDUP.value,
        platforms=tuple(PLATFORM.value),
    )
    print(f"wrote {path} ({size / 1e6:.1f} MB)")


if __name__ == "__main__":
    run_command(main, required=("workdir",))
