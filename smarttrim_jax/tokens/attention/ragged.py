"""Attention where the tokens lie: example after example, each as wide as it needs.

For CPUs, which have no use for a batch of attentions: nothing is gathered, and an example pays for its own length,
rounded up to one of a few widths, not for the longest.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from smarttrim_jax.tokens.attention.plain import goes_row_by_row, mix_row
from smarttrim_jax.tokens.packed import Packed
from smarttrim_jax.tokens.rounding import round_up

WIDTHS = (1.0, 0.8, 0.64, 0.5)
"""Shares of the longest row that a program has room for; each is compiled."""


def suits_ragged(tokens: Packed, keys: Packed, query: Array) -> bool:
    """Whether several examples are large enough for it."""
    return tokens.shape[0] > 1 and goes_row_by_row(tokens.row_capacity, keys.row_capacity, query.shape[-2])


def mix_ragged(tokens: Packed, keys: Packed, query: Array, key: Array, value: Array) -> Array:
    """Attention of `tokens` over the open ones of `keys`, both packed; see `attend`."""
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
    return jax.lax.fori_loop(0, own_lengths.shape[0], write, line)[:total]


def _width(tokens: Packed, share: float) -> int:
    """A share of the longest row, in whole vectors of 8, no longer than all tokens."""
    return min(round_up(share * tokens.row_capacity, 8), tokens.row_capacity, tokens.row.shape[0])


def _window(
    tokens: Packed, lengths: Array, example: Array, width: int | Array, places: int
) -> tuple[Int[Array, ""], Array]:
    """Where a window of `width` starts that holds the example and stays in memory; which `places` are its own."""
    start = jnp.minimum(tokens.start[example], tokens.row.shape[0] - width)
    place = start + jnp.arange(places)
    first = tokens.start[example]
    return start, (place >= first) & (place < first + lengths[example])
