"""Prepares a data set from its raw files, once; training does the same at its first start.

    python -m smarttrim_jax.prepare --dataset=vqav2 --source=FOLDER [--options=rule=blip] [--data_dir=FOLDER]

Images are read and checked on all cores, and each is kept once. What was interrupted goes on where it stopped. All
files that are missing or damaged are told before anything is written that training reads. FOLDER may be in a bucket
(gs://...). `smarttrim_jax/data/builders` tells where the raw files of every data set come from.
"""

import functools

from smarttrim_jax.command_line import define, run_command
from smarttrim_jax.configuration import field_types
from smarttrim_jax.data import DATASETS, DataConfig
from smarttrim_jax.data.dataset import prepare_records
from smarttrim_jax.registry import import_implementation

HINTS = field_types(DataConfig)

DATASET = define(
    "dataset", HINTS["dataset"], None, f"Name of the data set: {', '.join(DATASETS)}, or package.module:Builder."
)
SOURCE = define("source", HINTS["source"], DataConfig.source, "Where its raw files are.")
OPTIONS = define("options", HINTS["options"], DataConfig.options, "Choices of the data set: name=value,name=value.")
DATA_DIR = define("data_dir", HINTS["data_dir"], DataConfig.data_dir, "Folder in which prepared data is kept.")


def main() -> None:
    """Runs the command."""
    import_implementation(DATASET.value)
    prepared = prepare_records(DATASET.value, SOURCE.value, OPTIONS.value, DATA_DIR.value)
    for split, size in prepared.split_sizes.items():
        print(f"{split:>12} {size:>10,} examples")
    images = sum(shard.records for shard in prepared.images)
    disk = sum(file.stat().st_size for file in prepared.folder.iterdir())
    print(f"{'':>12} {images:>10,} images, {disk / 1e9:.2f} GB in '{prepared.folder}'")


run = functools.partial(run_command, main, required=("dataset",))

if __name__ == "__main__":
    run()
