"""The configurations that come with the library, as modules: `from smarttrim_jax.configs import easy_vqa`.

A wheel holds them beside this file. In a checkout of the repository they are its folder `configs`.
"""

import pathlib
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Type checkers do not follow `__path__` to a checkout's folder.
    def __getattr__(name: str) -> types.ModuleType: ...


_HERE = pathlib.Path(__file__).resolve().parent


def _files(folder: pathlib.Path) -> dict[str, str]:
    """Paths of the configuration files in a folder, by name."""
    return {file.stem: str(file) for file in sorted(folder.glob("*.py")) if file.stem != "__init__"}


FILES = _files(_HERE)
"""Path of each configuration file by the name that `--config` takes, as in `--config=easy_vqa:quick`."""

if not FILES:
    FILES = _files(_HERE.parents[1] / "configs")
    __path__.append(str(_HERE.parents[1] / "configs"))
