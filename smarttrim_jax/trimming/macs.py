"""Multiply-adds (MACs) as functions of what is kept; one rule for loss, reports and tests.

Counted: linear layers, attention products, patch embedding and the trimmers. Not counted: norms, softmax,
activations, table look-ups. One multiply-add is one MAC (the "GFLOPs" of UPop and MADTP are GMACs). A closed head
saves its slices of the query, key, value and output projections and its attention products.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.trimming.gates import Gates

Count = Float[Array, "*layers batch"]
"""A count per example, or per layer and example; a float, since gates are differentiable."""


@dataclasses.dataclass(frozen=True)
class LayerShape:
    """Sizes of one kind of layer.

    Attributes:
        width: Width of the tokens.
        heads: Number of attention heads.
        mlp_width: Hidden width of the MLP.
    """

    width: int
    heads: int
    mlp_width: int


def attention_macs(
    queries: Count, keys: Count, heads: Count, shape: LayerShape, source_width: int | None = None
) -> Count:
    """Counts the projections and attention products of one attention module.

    Args:
        queries: Number of open tokens that read.
        keys: Number of open tokens that are read.
        heads: Number of open heads.
        shape: Sizes of the layer.
        source_width: Width of the tokens that are read; None takes that of the layer.

    Returns:
        MACs of each example, with the axes of the counts.
    """
    head_width = shape.width // shape.heads
    projections = 2 * queries * shape.width + 2 * keys * (source_width or shape.width)
    products = 2 * queries * keys
    return heads * head_width * (projections + products)


def open_tokens(gates: Gates) -> Count:
    """Counts the open tokens of each example.

    Args:
        gates: Gates of a layer, or of a run with a leading axis of layers.

    Returns:
        `[batch]`, or `[layers, batch]`.
    """
    return jnp.sum(gates.tokens, axis=-1)


def layer_macs(gates: Gates, shape: LayerShape, source: Gates | None = None) -> Count:
    """Counts the MACs of one layer: self-attention, cross-attention (if given a source) and MLP.

    Args:
        gates: Gates of the layer; with a leading axis of layers, each layer of a run is counted.
        shape: Sizes of the layer.
        source: Gates of the side that cross-attention reads; None counts no cross-attention.

    Returns:
        `[batch]`, or `[layers, batch]`.
    """
    tokens = open_tokens(gates)
    total = attention_macs(tokens, tokens, jnp.sum(gates.modules["heads"], axis=-1), shape)
    if source is not None and gates.cross_heads is not None:
        total += attention_macs(tokens, open_tokens(source), jnp.sum(gates.cross_heads, axis=-1), shape)
    return total + 2 * tokens * shape.width * shape.mlp_width
