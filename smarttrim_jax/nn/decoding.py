"""Text decoding one position at a time, with a cache of each layer's keys and values."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.nn.attention import KeysAndValues
from smarttrim_jax.nn.layer_stack import unstack
from smarttrim_jax.nn.layers import PostNormLayer
from smarttrim_jax.nn.text import TextEmbedding
from smarttrim_jax.tokens import Padded, Tokens


class Kept(NamedTuple):
    """The cached self-attention keys and values of one layer; positions that are not yet written are not read.

    Attributes:
        keys: Keys of all positions, `[rows, length, heads, head_width]`.
        values: Values of all positions, with the same shape.
    """

    keys: Float[Array, "rows length heads head_width"]
    values: Float[Array, "rows length heads head_width"]


Cache = list[Kept]
"""The cache of each layer. A list, since a stacked array would have to be split and joined again at each position."""


class CachedDecoder:
    """A text decoder that computes one position for all rows, and caches what later positions read of it.

    Each example may have several consecutive rows (beams or samples). They share the keys and values of the example's
    source, which are projected once. Build the decoder inside the compiled function that decodes.

    Args:
        text: The embedding of the text's tokens.
        layers: The decoder's layers, a stacked module.
        head: Function from the last layer's output to the logits over the vocabulary.
        source: The tokens that cross-attention reads, in any layout; None skips cross-attention.
        source_gate: Gates of the source's tokens in each layer, `[layers, batch, tokens]`; None uses the gate of
            `source` in all layers.
        head_gate: Gates of the self-attention heads in each layer, `[layers, batch, heads]`; None leaves them open.
        cross_head_gate: Gates of the cross-attention heads in each layer, `[layers, batch, heads]`; None leaves them
            open.
    """

    def __init__(
        self,
        text: TextEmbedding,
        layers: PostNormLayer,
        head: Callable[[Float[Array, "rows width"]], Float[Array, "rows vocabulary"]],
        *,
        source: Tokens | None = None,
        source_gate: Float[Array, "layers batch tokens"] | None = None,
        head_gate: Float[Array, "layers batch heads"] | None = None,
        cross_head_gate: Float[Array, "layers batch heads"] | None = None,
    ):
        self.text, self.head = text, head
        # Unstacked once: a loop over positions would copy each layer's weights out of the stack at each position.
        self._layer_def, stacked = nnx.split(layers)
        self._layers = unstack(stacked)
        self._inputs = [
            jax.tree.map(lambda leaf, index=index: leaf[index], (source_gate, head_gate, cross_head_gate))
            for index in range(len(self._layers))
        ]
        self._sources = [
            None if source is None else self._project(index, source) for index in range(len(self._layers))
        ]

    def start(self, rows: int, length: int) -> Cache:
        """Makes a cache that holds no position yet.

        Args:
            rows: Number of rows that are decoded together.
            length: Upper bound on the number of positions.

        Returns:
            A cache of zeros, `[rows, length, heads, head_width]` for each layer.

        Raises:
            ConfigError: The text's position table has fewer than `length` positions.
        """
        if length > self.text.config.max_length:
            raise ConfigError(
                f"texts of {length} tokens do not fit a position table for {self.text.config.max_length}; "
                "lower max_length"
            )
        attention = self._layer(0).attention
        width, dtype = attention.key.kernel.shape[1], attention.key.dtype
        shape = (rows, length, width // attention.head_width, attention.head_width)
        return [Kept(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in self._layers]

    def step(
        self, cache: Cache, ids: Int[Array, " rows"], position: Int[Array, ""] | int
    ) -> tuple[Float[Array, "rows vocabulary"], Cache]:
        """Computes the logits of the token that follows a position.

        Args:
            cache: Cache with all positions before `position`.
            ids: Ids of the tokens at `position`, `[rows]`.
            position: Index of the position, counted from 0 and equal for all rows.

        Returns:
            logits: Logits of the next token, `[rows, vocabulary]`.
            cache: The cache with `position` added.
        """
        rows, length, *_ = cache[0].keys.shape
        written = jnp.broadcast_to(jnp.arange(length) <= position, (rows, length)).astype(jnp.float32)
        tokens = Padded(self.text.embed_one(ids, position)[:, None], jnp.ones((rows, 1), jnp.float32))
        after = []
        for index, kept in enumerate(cache):
            layer, (_, head_gate, cross_head_gate) = self._layer(index), self._inputs[index]
            new = layer.attention.project(tokens)
            kept = Kept(_write(kept.keys, new.keys.values, position), _write(kept.values, new.values, position))
            if head_gate is not None:
                head_gate = jnp.repeat(head_gate, rows // head_gate.shape[0], axis=0)
            own, source = KeysAndValues(Padded(kept.keys, written), kept.values), self._sources[index]
            tokens = layer(tokens, source, own=own, head_gate=head_gate, cross_head_gate=cross_head_gate)
            after.append(kept)
        return self.head(tokens.values[:, 0]), after

    def _layer(self, index: int) -> PostNormLayer:
        """The module of one layer."""
        return nnx.merge(self._layer_def, self._layers[index])

    def _project(self, index: int, source: Tokens) -> KeysAndValues:
        """Projects the source to the keys and values that a layer's cross-attention reads."""
        gate, *_ = self._inputs[index]
        own = source if gate is None else Padded(source.pad(source.values), gate)
        return self._layer(index).cross_attention.project(own).side_by_side


def _write(kept: Array, new: Float[Array, "rows 1 heads head_width"], position: Int[Array, ""] | int) -> Array:
    """Writes the vectors of one position into a cache array."""
    return jax.lax.dynamic_update_slice_in_dim(kept, new.astype(kept.dtype), position, axis=1)
