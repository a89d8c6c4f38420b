"""Reports the one known incompatible pair of versions by a sentence instead of an obscure error."""

import importlib.metadata


def check_versions() -> None:
    """Checks for the known incompatible pair: flax 0.12.8 and older cannot import nnx with jax 0.11 and newer.

    Raises:
        ImportError: Such a pair is installed.
    """
    flax, jax = _version("flax"), _version("jax")
    if jax >= (0, 11, 0) and flax < (0, 12, 9):
        raise ImportError(
            "this flax is too old for this jax: run `pip install -U 'flax>=0.12.9'`, "
            "or keep flax 0.12.8 with jax 0.10.2"
        )


def _version(package: str) -> tuple[int, ...]:
    """The first three numbers of an installed package's version."""
    return tuple(int(part) for part in importlib.metadata.version(package).split(".")[:3])
