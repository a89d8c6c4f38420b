"""The one known bad pair of versions, said in a sentence instead of an obscure error."""

import importlib.metadata


def check_versions() -> None:
    """Flax 0.12.8 and older cannot import nnx with jax 0.11 and newer.

    Raises:
        ImportError: such a pair is installed.
    """
    flax, jax = _version("flax"), _version("jax")
    if jax >= (0, 11, 0) and flax < (0, 12, 9):
        raise ImportError(
            "this flax is too old for this jax: run `pip install -U 'flax>=0.12.9'`, "
            "or keep flax 0.12.8 with jax 0.10.2"
        )


def _version(package: str) -> tuple[int, ...]:
    return tuple(int(part) for part in importlib.metadata.version(package).split(".")[:3])
