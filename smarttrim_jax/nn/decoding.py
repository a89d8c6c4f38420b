"""Text one position at a time: a layer's keys and values of earlier positions are kept, and read again."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.nn.attention import KeysAndValues
from smarttrim_jax.nn.folding import fold
from smarttrim_jax.nn.layers import PostNormLayer
from smarttrim_jax.nn.text import TextEmbedding
from smarttrim_jax.tokens import Padded, Tokens


class Cache(NamedTuple):
    """Keys and values of self-attention, row by row; places not yet written are not read.

    Attributes:
        keys: of every layer and position.
        values: the same.
    """

    keys: Float[Array, "rows layers length heads head_width"]
    values: Float[Array, "rows layers length heads head_width"]


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
        scan: one compiled layer instead of as many as there are.
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
        scan: bool = False,
    ):
        self.text, self.layers, self.head, self.scan = text, layers, head, scan
        self.head_gate, self.cross_head_gate = head_gate, cross_head_gate
        self.source = None if source is None else self._project(source, source_gate)

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
        attention = self.layers.attention
        depth, _, width = attention.key.kernel.shape
        shape = (rows, depth, length, width // attention.head_width, attention.head_width)
        return Cache(*(jnp.zeros(shape, attention.key.dtype) for _ in Cache._fields))

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
        rows, _, length, *_ = cache.keys.shape
        written = jnp.broadcast_to(jnp.arange(length) <= position, (rows, length)).astype(jnp.float32)
        embedded = self.text.embed_one(ids, position)[:, None]

        def run_layer(layer: PostNormLayer, _: None, tokens: Padded, inputs: tuple) -> tuple[Padded, Cache]:
            kept, source, head_gate, cross_head_gate = inputs
            new = layer.attention.project(tokens)
            kept = Cache(_write(kept.keys, new.keys.values, position), _write(kept.values, new.values, position))
            if head_gate is not None:
                head_gate = jnp.repeat(head_gate, rows // head_gate.shape[0], axis=0)
            own = KeysAndValues(Padded(kept.keys, written), kept.values)
            return layer(tokens, source, own=own, head_gate=head_gate, cross_head_gate=cross_head_gate), kept

        by_layer = Cache(*(jnp.moveaxis(part, 1, 0) for part in cache))
        inputs = (by_layer, self.source, self.head_gate, self.cross_head_gate)
        first = Padded(embedded, jnp.ones((rows, 1)))
        last, kept = fold(run_layer, first, self.layers, inputs, depth=cache.keys.shape[1], scan=self.scan)
        return self.head(last.values[:, 0]), Cache(*(jnp.moveaxis(part, 0, 1) for part in kept))

    def _project(self, source: Tokens, gate: Float[Array, "layers batch tokens"] | None) -> KeysAndValues:
        """What the cross-attention of every layer reads, on a leading axis of layers."""

        def project(
            layer: PostNormLayer, _: None, carry: None, gate: Float[Array, "batch tokens"] | None
        ) -> tuple[None, KeysAndValues]:
            own = source if gate is None else Padded(source.pad(source.values), gate)
            return carry, layer.cross_attention.project(own).side_by_side

        depth = self.layers.attention.key.kernel.shape[0]
        return fold(project, None, self.layers, gate, depth=depth, scan=self.scan)[1]


def _write(kept: Array, new: Float[Array, "rows 1 heads head_width"], position: Int[Array, ""] | int) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(kept, new.astype(kept.dtype), position, axis=1)
