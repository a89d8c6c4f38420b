"""Parameters of a model by "/"-joined path: their shapes, and fresh ones."""

from collections.abc import Sequence

import jax
from flax.traverse_util import flatten_dict

from smarttrim_jax.models.functional import Functional


def parameter_shapes(model: Functional) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter, by path."""
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return {path: leaf.shape for path, leaf in flatten_dict(shapes, sep="/").items()}


def draw(model: Functional, paths: Sequence[str]) -> dict[str, jax.Array]:
    """Fresh parameters at these paths, from the seed 0; compiled, so that the others are never computed."""

    def init(key: jax.Array) -> dict[str, jax.Array]:
        params = flatten_dict(model.init(key), sep="/")
        return {path: params[path] for path in paths}

    return jax.jit(init)(jax.random.key(0)) if paths else {}
