"""A configuration file for commands in processes of their own: the experiment that a test wrote as JSON."""

import json
import pathlib

from ml_collections import ConfigDict

from smarttrim_jax import sharding

# The tiny model's kernels are split too.
sharding.SMALLEST_SPLIT = 200


def get_config(path: str) -> ConfigDict:
    return ConfigDict(json.loads(pathlib.Path(path).read_text()))
