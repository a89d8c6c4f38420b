"""Turns a trained model into what other programs read, or saves it to travel.

    python -m smarttrim_jax.convert --workdir=runs/quick --save=models/quick

The folder answers on any machine, without the data and the run; every command takes it as --workdir.

    python -m smarttrim_jax.convert --workdir=runs/quick --export=model.jaxexport [--speedup=2] [--batch_size=1]

The file holds one program with its parameters, which leaves out what each example closes; a process with only jax
runs it (see `serving.export`).

    python -m smarttrim_jax.convert --workdir=runs/quick --to=official --output=meter.safetensors

The file holds the weights under the names of the official METER or BLIP, `meter.trimmers.safetensors` beside it the
trimmers (see `pretrained.meter.files`).

    python -m smarttrim_jax.convert --workdir=runs/blip --to=huggingface --output=blip/model.safetensors

The same under the names of Hugging Face's BLIP, with the config.json that transformers reads it by (see
`pretrained.blip.files`).
"""

import functools

from absl import flags

from smarttrim_jax.command_line import define, run_command
from smarttrim_jax.command_line.model_flags import SPEEDUP, opened_model
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.pretrained import write_huggingface, write_official
from smarttrim_jax.ranges import PositiveInt
from smarttrim_jax.serving.export import PLATFORMS, export_model

WRITERS = {"official": write_official, "huggingface": write_huggingface}

SAVE = flags.DEFINE_string("save", None, "Folder to save the model to, so that it answers anywhere.")
EXPORT = flags.DEFINE_string("export", None, "File to write a program to.")
BATCH_SIZE = define("batch_size", PositiveInt, 1, "Examples of every call.")
PLATFORM = flags.DEFINE_multi_enum("platform", PLATFORMS, PLATFORMS, "Where it shall run.")
TO = flags.DEFINE_enum("to", None, list(WRITERS), "Whose names weights shall have.")
OUTPUT = flags.DEFINE_string("output", None, "File to write weights to.")


def main() -> None:
    """Runs the command."""
    asked = [flag.value is not None for flag in (SAVE, EXPORT, TO)]
    if sum(asked) != 1 or (OUTPUT.value is None) != (TO.value is None):
        raise ConfigError(
            "say one thing to write: --export=FILE, or --to=official|huggingface --output=FILE.safetensors, "
            "or --save=FOLDER"
        )
    trained = opened_model()
    if SAVE.value is not None:
        trained.save(SAVE.value)
        print(f"wrote {SAVE.value}")
    elif TO.value is not None:
        written = WRITERS[TO.value](str(OUTPUT.value), trained.config.model, trained.params)
        print("wrote " + " and ".join(map(str, written)))
    else:
        size = export_model(
            trained,
            str(EXPORT.value),
            batch_size=BATCH_SIZE.value,
            speedup=SPEEDUP.value,
            platforms=tuple(PLATFORM.value),
        )
        print(f"wrote {EXPORT.value} ({size / 1e6:.1f} MB)")


run = functools.partial(run_command, main, required=("workdir",))

if __name__ == "__main__":
    run()
