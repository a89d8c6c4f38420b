"""The tiny experiment as a configuration file, for commands in processes of their own."""

import pathlib
import sys

import ml_collections

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from tiny_run import tiny_experiment

from smarttrim_jax.configuration import to_dict


def get_config(folder: str) -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(to_dict(tiny_experiment(pathlib.Path(folder))))
