"""The layout of a training pass in which most tokens are closed: padded rows that hold only some of the tokens."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from smarttrim_jax.tokens.layout import Tokens
from smarttrim_jax.tokens.padded import Padded


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Shortened(Padded):
    """One row per example that holds only some of its tokens, in order: static shapes, differentiable gates.

    Attributes:
        values: `[batch, places, width]`, the vectors of the stored tokens.
        gate: `[batch, places]`, 1 open, 0 closed.
        position: `[batch, places]`, the token's index among the original tokens of its example, ascending.
        length: The number of original tokens per example, which is the number of columns of `pad`.
    """

    position: Int[Array, "batch places"]
    length: int = dataclasses.field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, int]:
        """The number of examples, and the number of original tokens per example."""
        return self.gate.shape[0], self.length

    @property
    def padded_gate(self) -> Float[Array, "batch tokens"]:
        """The gate of each original token; 0 for tokens that are no longer in memory."""
        return self.pad(self.gate)

    def look_up(self, table: Float[Array, "batch tokens *features"]) -> Float[Array, "batch places *features"]:
        """Reads the entry of each stored token from a table over original tokens; see `Tokens.look_up`.

        Args:
            table: An entry for each original token, `[batch, tokens, *features]`, or `[1, tokens, *features]` for
                all examples alike.

        Returns:
            `[batch, places, *features]`, the entries of the stored tokens.
        """
        return _take(jnp.broadcast_to(table, self.shape + table.shape[2:]), self.position)

    def pad(self, values: Float[Array, "batch places *features"]) -> Float[Array, "batch tokens *features"]:
        """Moves features to their original positions; see `Tokens.pad`.

        Args:
            values: Features of the stored tokens, `[batch, places, *features]`.

        Returns:
            `[batch, tokens, *features]`; 0 for tokens that are no longer in memory.
        """

        def put(row: Array, position: Array) -> Array:
            empty = jnp.zeros((self.length, *row.shape[1:]), row.dtype)
            return empty.at[position].set(row, indices_are_sorted=True, unique_indices=True)

        return jax.vmap(put)(values, self.position)


def shorten(tokens: Tokens, present: Float[Array, "batch tokens"], places: int, key: jax.Array) -> Shortened:
    """Keeps the open tokens in memory, and fills the remaining places with closed ones drawn uniformly.

    The forward pass does not change, because nothing reads a closed token. In the backward pass, a closed token
    matters only through its gate: the gradient is what the loss would gain if later layers read the token, summed
    over those layers. A token that was removed from memory contributes nothing to this gradient, so each drawn closed
    token stands for several: its gradient is multiplied by the number of closed tokens over the number of drawn ones.
    Since closed tokens do not read each other, the sum is right in expectation. This also holds when tokens are
    removed at several layers: the gradient of one token's gate between two removals depends on other tokens only
    through later draws, which are independent. The cost loss, which is linear in the gates of closed tokens, is part
    of the sum. Later decisions about a closed token have no gradient, whether or not it was drawn.

    Neither the unchanged forward pass nor the expected gradient holds where more tokens are open than there are
    places. Then open tokens, drawn uniformly too, are removed and count as closed, and since no place is left for
    closed tokens, none of these gets a gradient.

    Args:
        tokens: Tokens in any layout, some of them closed.
        present: `[batch, tokens]`, 1 for tokens that are no padding. Padding is removed first.
        places: Tokens per example that stay in memory. The first token always stays.
        key: Random key of the draw.

    Returns:
        The stored tokens in their original order, with the same original positions and scaled gate gradients.
    """
    gates, draw = tokens.padded_gate, jax.random.uniform(key, tokens.shape, jnp.float32)
    is_open = gates >= 0.5  # gates of training may be in between
    is_closed = ~is_open & (present > 0)
    order = jnp.where(is_open, draw, jnp.where(is_closed, 1.0 + draw, 2.0)).at[:, 0].set(-1.0)
    position = jnp.sort(jnp.argsort(order, axis=1)[:, :places], axis=1)
    gate, drawn = _take(gates, position), _take(is_closed, position)
    closed, count = (jnp.sum(part, axis=1, keepdims=True, dtype=jnp.float32) for part in (is_closed, drawn))
    extra = jnp.where(drawn, closed / jnp.maximum(count, 1.0) - 1.0, 0.0)
    gate += extra * (gate - jax.lax.stop_gradient(gate))
    return Shortened(_take(tokens.pad(tokens.values), position), gate, position, tokens.shape[1])


def _take(
    parts: Shaped[Array, "batch tokens *features"], position: Int[Array, "batch places"]
) -> Shaped[Array, "batch places *features"]:
    """Reads the parts at different positions of each example.

    Args:
        parts: `[batch, tokens, *features]`.
        position: `[batch, places]`, ascending and without repetitions.

    Returns:
        `[batch, places, *features]`.
    """

    def take(row: Array, position: Array) -> Array:
        return row.at[position].get(indices_are_sorted=True, unique_indices=True, mode="promise_in_bounds")

    return jax.vmap(take)(parts, position)
