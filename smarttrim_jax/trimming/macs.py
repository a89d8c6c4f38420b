"""Multiply-adds as functions of what is kept; one rule for loss, reports and tests.

Counted: linear layers, attention products, patch embedding and the trimmers. Not counted: norms, softmax,
activations, table look-ups. One multiply-add is one MAC (the "GFLOPs" of UPop and MADTP are GMACs).
A closed head saves its slices of the query, key, value and output projections and its attention products.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.trimming.gates import Gates
from smarttrim_jax.trimming.trimmers import RunTrimming, TrimmerConfig

Count = Float[Array, "*layers batch"]


@dataclasses.dataclass(frozen=True)
class LayerShape:
    """Sizes of one kind of layer.

    Attributes:
        width: of the tokens.
        heads: attention heads.
        mlp_width: hidden width of the MLP.
    """

    width: int
    heads: int
    mlp_width: int


def attention_macs(
    queries: Count, keys: Count, heads: Count, shape: LayerShape, source_width: int | None = None
) -> Count:
    """Projections and products of one attention module with so many open queries, keys and heads.

    Args:
        queries: read.
        keys: are read.
        heads: of the module.
        shape: of the layer.
        source_width: of the keys' tokens; by default the layer's.
    """
    head_width = shape.width // shape.heads
    projections = 2 * queries * shape.width + 2 * keys * (source_width or shape.width)
    products = 2 * queries * keys
    return heads * head_width * (projections + products)


def open_tokens(gates: Gates) -> Count:
    """How many tokens of each example are open."""
    return jnp.sum(gates.tokens, axis=-1)


def layer_macs(gates: Gates, shape: LayerShape, source: Gates | None = None) -> Count:
    """One layer (or each of a run, if the gates have an axis of layers): attention, cross-attention, MLP.

    Args:
        gates: of the layer.
        shape: its sizes.
        source: the gates of the side that cross-attention reads.
    """
    tokens = open_tokens(gates)
    total = attention_macs(tokens, tokens, jnp.sum(gates.modules["heads"], axis=-1), shape)
    if source is not None and gates.cross_heads is not None:
        total += attention_macs(tokens, open_tokens(source), jnp.sum(gates.cross_heads, axis=-1), shape)
    return total + 2 * tokens * shape.width * shape.mlp_width


def trimmer_macs(
    gates: Gates,
    present: Float[Array, "batch tokens"],
    shape: LayerShape,
    config: TrimmerConfig,
    trimming: RunTrimming,
    other_widths: tuple[int, ...] = (),
) -> Float[Array, " batch"]:
    """The trimmers of a run: a token's on the tokens that the layer before left open, a head's once per example.

    Args:
        gates: of the whole run, with the axis of layers.
        present: tokens that are no padding.
        shape: the layers' sizes.
        config: the trimmers' shape.
        trimming: which trimmers there are.
        other_widths: of the other sides that they read.
    """
    first, hidden, width = trimming.first_layer, config.hidden, shape.width
    layers = gates.tokens.shape[0] - first
    total = jnp.zeros(present.shape[0], jnp.float32)
    if trimming.tokens and layers > 0:
        before = jnp.concatenate([present[None], gates.tokens[:-1]])[first:]
        per_token, per_example = width * hidden + 2 * hidden, 0
        if other_widths and config.guidance == "cross_modal":
            per_token += 2 * hidden * hidden
            per_example = sum(other_widths) * hidden + hidden * hidden
        total += jnp.sum(before, axis=(0, 2)) * per_token + layers * per_example
    if trimming.heads and gates.heads is not None and layers > 0:
        total += layers * sum((width + other) * hidden + 2 * hidden * shape.heads for other in (0, *other_widths))
    return total
