"""Text one position at a time: a layer's keys and values of earlier positions are kept, and read again."""

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
    """A layer's keys and values of self-attention, row by row; places not yet written are not read.

    Attributes:
        keys: of every position.
        values: the same.
    """

    keys: Float[Array, "rows length heads head_width"]
    values: Float[Array, "rows length heads head_width"]


Cache = list[Kept]
"""Of every layer; a stack would be taken apart and put together again at every position."""


class CachedDecoder:
    """A text decoder that computes one position, the same for all rows, and keeps what later ones read of it.

    Every example may have several rows (beams, samples), one after the other; they share what the example's source
    gives to cross-attention, which is projected once. Build it inside the compiled function that decodes.

    Args:
        text: whose embedding is used.
        layers: of the decoder, stacked.
        head: from the last layer's output to the logits.
        source: what cross-attention reads, in any layout; None skips cross-attention.
        source_gate: of the source in every layer, where that differs from layer to layer.
        head_gate: of self-attention in every layer.
        cross_head_gate: of cross-attention in every layer.
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
        # Out of the stack here: a loop over positions would take each layer's weights, a copy, out of it every time.
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
        """A cache without any position.

        Args:
            rows: to decode.
            length: positions there will be at most.

        Raises:
            ConfigError: more positions than the text has.
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
        """The logits of the token after `position`.

        Args:
            cache: with all positions before it.
            ids: of the tokens at `position`.
            position: counted from 0.

        Returns:
            logits: of the next token.
            cache: with `position`.
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
        return nnx.merge(self._layer_def, self._layers[index])

    def _project(self, index: int, source: Tokens) -> KeysAndValues:
        """What the cross-attention of a layer reads."""
        gate, *_ = self._inputs[index]
        own = source if gate is None else Padded(source.pad(source.values), gate)
        return self._layer(index).cross_attention.project(own).side_by_side


def _write(kept: Array, new: Float[Array, "rows 1 heads head_width"], position: Int[Array, ""] | int) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(kept, new.astype(kept.dtype), position, axis=1)
