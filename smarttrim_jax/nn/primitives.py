"""What all layers are made of: linear maps, norms, activations, dropout, and the keys that they draw from."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.tokens import Tokens


class Linear(nnx.Linear):
    """`nnx.Linear` on a matrix: leading axes are joined for the product.

    With several leading axes the kernel's gradient contracts over all of them, for which XLA's CPU backend
    first transposes, element by element, what is larger than the product itself (a quarter of the speed).
    """

    def __call__(self, inputs: Float[Array, "*leading features"]) -> Float[Array, "*leading outputs"]:  # type: ignore[override]
        """`inputs kernel + bias`."""
        if inputs.ndim <= 2:
            return super().__call__(inputs)
        outputs = super().__call__(inputs.reshape(-1, inputs.shape[-1]))
        return outputs.reshape(*inputs.shape[:-1], -1)


def dropout(values: Array, rate: float, key: jax.Array | None) -> Array:
    """Drops single values with probability `rate` and scales the others; `key` None turns it off."""
    if key is None or rate == 0.0:
        return values
    return nnx.Dropout(rate, deterministic=False)(values, rngs=key)


def drop_path(branch: Array, tokens: Tokens, rate: Array | float, key: jax.Array | None) -> Array:
    """Stochastic depth: drops a residual branch for whole examples (timm's DropPath); `key` None turns it off.

    Args:
        branch: the residual branch of every token.
        tokens: whose layout says which values belong to one example.
        rate: probability of dropping; may differ by layer, hence may be traced.
        key: of the draw.
    """
    if key is None or (isinstance(rate, float) and rate == 0.0):
        return branch
    examples = tokens.global_token.shape[0]
    kept = 1.0 - jnp.asarray(rate, jnp.float32)
    keep = jax.random.bernoulli(key, kept, (examples, 1)) / kept
    return branch * tokens.spread(keep).astype(branch.dtype)


def split_key(key: jax.Array | None, count: int) -> list[jax.Array] | list[None]:
    """`count` keys from one; none from none, for evaluation."""
    return [None] * count if key is None else list(jax.random.split(key, count))
