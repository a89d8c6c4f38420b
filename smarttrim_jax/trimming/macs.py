"""Multiply-adds as functions of what is kept; one rule for loss, reports and tests.

Counted: linear layers, attention products, patch embedding and the trimmers. Not counted: norms, softmax,
activations, table look-ups. One multiply-add is one MAC (the "GFLOPs" of UPop and MADTP are GMACs).
A closed head saves its slices of the query, key, value and output projections and its attention products.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.trimming.gates import Gates

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
