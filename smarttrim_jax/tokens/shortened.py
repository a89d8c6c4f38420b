"""The training layout of a pass in which most tokens are closed: padded, but only so many places an example."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from smarttrim_jax.tokens.layout import Tokens
from smarttrim_jax.tokens.padded import Padded


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Shortened(Padded):
    """Some tokens of every example in a row of its own, in their order: static shapes, differentiable gates.

    Attributes:
        position: `[batch, places]`, the token's place in its example at first.
        length: tokens of an example at first: the width of `pad`.
    """

    position: Int[Array, "batch places"]
    length: int = dataclasses.field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, int]:
        """Examples, and tokens of each at first."""
        return self.gate.shape[0], self.length

    @property
    def padded_gate(self) -> Float[Array, "batch tokens"]:
        """The gate of every token that the example had at first; 0 for those no longer here."""
        return self.pad(self.gate)

    def look_up(self, table: Float[Array, "batch tokens"]) -> Float[Array, "batch places"]:
        """The entry of every token in a table of all tokens that the examples had at first."""
        return _take(jnp.broadcast_to(table, self.shape), self.position)

    def pad(self, values: Float[Array, "batch places *features"]) -> Float[Array, "batch tokens *features"]:
        """Any vectors of these tokens, every example in a row of its own; 0 for tokens no longer here."""

        def put(row: Array, position: Array) -> Array:
            empty = jnp.zeros((self.length, *row.shape[1:]), row.dtype)
            return empty.at[position].set(row, indices_are_sorted=True, unique_indices=True)

        return jax.vmap(put)(values, self.position)


def shorten(tokens: Tokens, present: Float[Array, "batch tokens"], places: int, key: jax.Array) -> Shortened:
    """Keeps the open tokens in memory, and as many closed ones, drawn uniformly, as there is room for.

    The forward pass stays what it was, for nothing reads a closed token. Backward, a closed token has an influence by
    its gate alone: what the loss would gain if later layers read it, a sum over these layers. A token that left gives
    none of it, so the gate of one that was drawn counts for all it stands for: its gradient is multiplied by closed
    tokens over drawn ones. Closed tokens do not see each other, hence the sum is right in expectation. So it stays
    when tokens leave in several places: what one token's gate gains between two of them depends on other tokens
    only by draws that come later, and these are independent. The cost, linear in the gates of closed tokens, is part
    of the sum; a closed token's later decisions have no gradient, drawn or not.

    Neither holds where more tokens are open than there are places: then some of those, drawn uniformly too, leave and
    count as closed; and with no place left none of the closed ones learns anything.

    Args:
        tokens: of which some are closed, in any layout.
        present: 1 for tokens that are no padding, which leaves first.
        places: for tokens of one example.
        key: of the draw.
    """
    gates, draw = tokens.padded_gate, jax.random.uniform(key, tokens.shape, jnp.float32)
    is_open = gates > 0
    is_closed = ~is_open & (present > 0)
    order = jnp.where(is_open, draw, jnp.where(is_closed, 1.0 + draw, 2.0)).at[:, 0].set(-1.0)
    position = jnp.sort(jnp.argsort(order, axis=1)[:, :places], axis=1)
    gate, drawn = _take(gates, position), _take(is_closed, position)
    closed, count = (jnp.sum(part, axis=1, keepdims=True, dtype=jnp.float32) for part in (is_closed, drawn))
    extra = jnp.where(drawn, closed / jnp.maximum(count, 1.0) - 1.0, 0.0)
    gate += extra * (gate - jax.lax.stop_gradient(gate))
    return Shortened(_take(tokens.pad(tokens.values), position), gate, position, tokens.shape[1])


def _take(
    parts: Float[Array, "batch tokens *features"], position: Int[Array, "batch places"]
) -> Float[Array, "batch places *features"]:
    """The parts at different places of every example, each taken once."""

    def take(row: Array, position: Array) -> Array:
        return row.at[position].get(indices_are_sorted=True, unique_indices=True, mode="promise_in_bounds")

    return jax.vmap(take)(parts, position)
