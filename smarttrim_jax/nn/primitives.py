"""Building blocks of all layers: linear maps, dropout, stochastic depth, and splitting of random keys."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.tokens import Tokens


class Linear(nnx.Linear):
    """`nnx.Linear` that joins the leading axes of its input, so that the product is one of two matrices.

    With several leading axes, the kernel's gradient contracts over all of them. For that, XLA's CPU backend first
    transposes the operands element by element; they are larger than the product, and a quarter of the speed remains.
    """

    def __call__(self, inputs: Float[Array, "*leading features"]) -> Float[Array, "*leading outputs"]:  # type: ignore[override]
        """Computes `inputs kernel + bias`.

        Args:
            inputs: `[*leading, features]`.

        Returns:
            `[*leading, outputs]`.
        """
        if inputs.ndim <= 2:
            return super().__call__(inputs)
        outputs = super().__call__(inputs.reshape(-1, inputs.shape[-1]))
        return outputs.reshape(*inputs.shape[:-1], -1)


def dropout(values: Array, rate: float, key: jax.Array | None) -> Array:
    """Sets single numbers to 0 with a probability and scales the others by the inverse of the remaining share.

    Args:
        values: Array of any shape.
        rate: Probability of dropping a number.
        key: Random key; None returns `values` unchanged.

    Returns:
        An array of the same shape.
    """
    if key is None or rate == 0.0:
        return values
    return nnx.Dropout(rate, deterministic=False)(values, rngs=key)


def drop_path(branch: Array, tokens: Tokens, rate: Array | float, key: jax.Array | None) -> Array:
    """Stochastic depth: drops a residual branch for whole examples and scales it for the others (timm's DropPath).

    Args:
        branch: Output of the residual branch, laid out like `tokens.values`.
        tokens: Tokens whose layout tells which vectors belong to one example.
        rate: Probability of dropping the branch; differs by layer, so it may be traced.
        key: Random key; None returns the branch unchanged.

    Returns:
        The branch, laid out as before.
    """
    if key is None or (isinstance(rate, float) and rate == 0.0):
        return branch
    examples = tokens.global_token.shape[0]
    kept = 1.0 - jnp.asarray(rate, jnp.float32)
    keep = jax.random.bernoulli(key, kept, (examples, 1)) / kept
    return branch * tokens.spread(keep).astype(branch.dtype)


def split_key(key: jax.Array | None, count: int) -> list[jax.Array] | list[None]:
    """Splits a random key.

    Args:
        key: Random key, or None in evaluation.
        count: Number of keys to make.

    Returns:
        A list of `count` keys, or of `count` times None.
    """
    return [None] * count if key is None else list(jax.random.split(key, count))
