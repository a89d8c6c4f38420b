"""Attention over packed tokens in place: one example after the other, each with its own width.

For CPUs, which gain nothing from batching the attention of several examples. Nothing is gathered, and an example
costs what its own length costs, rounded up to one of a few widths, instead of the length of the longest example.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from smarttrim_jax.tokens.attention.plain import goes_row_by_row, mix_row
from smarttrim_jax.tokens.packed import Packed
from smarttrim_jax.tokens.rounding import round_up

WIDTHS = (1.0, 0.8, 0.64, 0.5)
"""The compiled widths, as shares of the row capacity."""


def suits_ragged(tokens: Packed, keys: Packed, query: Array) -> bool:
    """Tells whether there are several examples, each large enough to be computed on its own.

    Args:
        tokens: The tokens that the queries belong to.
        keys: The tokens that are read.
        query: Queries, `[packed, heads, head_width]`.

    Returns:
        Whether `mix_ragged` is the faster choice on this process's device.
    """
    return tokens.shape[0] > 1 and goes_row_by_row(tokens.row_capacity, keys.row_capacity, query.shape[-2])


def mix_ragged(tokens: Packed, keys: Packed, query: Array, key: Array, value: Array) -> Array:
    """Attention of `tokens` over the open tokens of `keys`, both packed; see `attend`.

    Args:
        tokens: The tokens that the queries belong to.
        keys: The tokens that are read; only their layout and gates are used.
        query: Queries of `tokens`, `[packed, heads, head_width]`.
        key: Keys of `keys`, `[packed keys, heads, head_width]`.
        value: Values of `keys`, `[packed keys, heads, head_width]`.

    Returns:
        The weighted means of the values, `[packed, heads, head_width]`; 0 for fillers.
    """
    sizes = sorted({(_width(tokens, share), _width(keys, share)) for share in WIDTHS}, reverse=True)
    own_widths, key_widths = (jnp.asarray(widths) for widths in zip(*sizes, strict=True))
    own_lengths, key_lengths = tokens.lengths, keys.lengths
    widest = sizes[0][0]

    def mix(example: Int[Array, ""], *, own_width: int, key_width: int) -> Array:
        from_own, _ = _window(tokens, own_lengths, example, own_width, own_width)
        from_key, is_own = _window(keys, key_lengths, example, key_width, key_width)
        own = jax.lax.dynamic_slice_in_dim(query, from_own, own_width)
        near = (jax.lax.dynamic_slice_in_dim(part, from_key, key_width) for part in (key, value, keys.gate))
        near_key, near_value, near_gate = near
        mixed = mix_row(own, near_key, near_value, near_gate * is_own)
        return jnp.pad(mixed, ((0, widest - own_width), (0, 0), (0, 0)))

    branches = [lambda example, sizes=sizes: mix(example, own_width=sizes[0], key_width=sizes[1]) for sizes in sizes]

    def write(example: Int[Array, ""], line: Array) -> Array:
        fits = (own_widths >= own_lengths[example]) & (key_widths >= key_lengths[example])
        size = jnp.sum(fits) - 1
        mixed = jax.lax.switch(size, branches, example)
        start, is_own = _window(tokens, own_lengths, example, own_widths[size], widest)
        before = jax.lax.dynamic_slice_in_dim(line, start, widest)
        return jax.lax.dynamic_update_slice_in_dim(line, jnp.where(is_own[:, None, None], mixed, before), start, 0)

    total = query.shape[0]
    line = jnp.zeros((total + widest, *query.shape[1:]), value.dtype)
    mixed: Array = jax.lax.fori_loop(0, own_lengths.shape[0], write, line)
    return mixed[:total]


def _width(tokens: Packed, share: float) -> int:
    """A share of the row capacity in tokens: a multiple of 8, at most the row capacity and the packed length."""
    return min(round_up(share * tokens.row_capacity, 8), tokens.row_capacity, tokens.row.shape[0])


def _window(
    tokens: Packed, lengths: Array, example: Array, width: int | Array, places: int
) -> tuple[Int[Array, ""], Array]:
    """Finds a window of memory that contains the tokens of one example and does not reach beyond the end.

    Args:
        tokens: Packed tokens.
        lengths: `[batch]`, stored tokens of each example.
        example: Index of the example, a scalar.
        width: Tokens in the window.
        places: Entries of the returned mask.

    Returns:
        The index at which the window starts, and `[places]`, true for the entries from there on that belong to the
        example.
    """
    start = jnp.minimum(tokens.start[example], tokens.row.shape[0] - width)
    place = start + jnp.arange(places)
    first = tokens.start[example]
    return start, (place >= first) & (place < first + lengths[example])
