"""The configurations that come with the library, as modules: `from smarttrim_jax.configs import easy_vqa`.

A wheel holds them beside this file. In a checkout of the repository they are its folder `configs`. Those of a folder
are named with it: `--config=meter/vqav2:trim`, `from smarttrim_jax.configs.meter import vqav2`.
"""

import pathlib
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Type checkers do not follow `__path__` to a checkout's folder.
    def __getattr__(name: str) -> types.ModuleType: ...


_HERE = pathlib.Path(__file__).resolve().parent


def _files(folder: pathlib.Path) -> dict[str, str]:
    """Paths of the configuration files in a folder and in the folders below it, by name."""
    files = sorted(file.relative_to(folder) for file in folder.rglob("*.py") if file.stem != "__init__")
    return {file.with_suffix("").as_posix(): str(folder / file) for file in files}


FILES = _files(_HERE)
"""Path of each configuration file by the name that `--config` takes, as in `--config=meter/vqav2:trim`."""

if not FILES:
    FILES = _files(_HERE.parents[1] / "configs")
    __path__.append(str(_HERE.parents[1] / "configs"))
