"""Fresh parameters without the program that draws them, which takes longer to compile than most tests to run."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from smarttrim_jax.models.functional import Functional, Params


def fresh_params(config: Any, seed: int = 0) -> Params:
    """What `init` gives: its own biases, scales and numbers, and weights of their usual size drawn by numpy.

    Args:
        config: of the model.
        seed: of the weights.
    """
    init, key, random = jax.jit(Functional(config).init), jax.random.key(0), np.random.default_rng(seed)
    shapes = flatten_dict(init.eval_shape(key))
    fixed = [path for path, leaf in shapes.items() if path[-1] in ("bias", "scale") or leaf.ndim == 0]

    def draw(path: tuple[str, ...], shape: tuple[int, ...]) -> jax.Array:
        small = "logits" in path or path[-1] == "embedding"
        deviation = 0.02 if small else shape[-2 if path[-1] == "kernel" else -1] ** -0.5
        return jnp.asarray(random.normal(scale=deviation, size=shape), jnp.float32)

    # The compiler drops what only the drawn weights need.
    constants = jax.jit(lambda key: [flatten_dict(init(key))[path] for path in fixed])(key)
    drawn = {path: draw(path, leaf.shape) for path, leaf in shapes.items() if path not in fixed}
    leaves = drawn | dict(zip(fixed, constants, strict=True))
    return unflatten_dict({path: leaves[path] for path in shapes})
