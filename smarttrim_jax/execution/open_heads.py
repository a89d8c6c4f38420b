"""Heads that leave the weights: those that no example of a calibration set opened, or none of a batch opens.

Exact all the same: where a later example opens a head that calibration did not see, the layer has all its heads.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Int

from smarttrim_jax.tokens.rounding import round_up
from smarttrim_jax.trimming.gates import GateKey, GatesByKey

PARTS = {"heads": "attention", "cross_heads": "cross_attention", "twin_heads": "twin_attention"}
"""The gates of a layer, and the module that each belongs to."""

OpenHeads = dict[tuple[GateKey, str], Bool[np.ndarray, "*layers heads"]]
"""Whether any example opens a head, by the gates' key and part."""


def open_heads(gates: GatesByKey) -> OpenHeads:
    """Which heads of a record any of its examples opens, for every layer."""
    return {
        (key, part): np.asarray(np.any(opened, axis=-2))
        for key, gate in gates.items()
        for part, opened in gate.modules.items()
    }


def together(first: OpenHeads, second: OpenHeads) -> OpenHeads:
    """What either opens."""
    return {key: first[key] | second[key] for key in first} if first else second


HEAD_GROUPS = 4
"""Groups that a module's heads are counted in, so that few programs are compiled."""

HeadIndices = dict[tuple[GateKey, str], Int[Array, " fewer"]]
"""The heads that a layer runs with, by the gates' key and part."""


@dataclasses.dataclass(frozen=True)
class NarrowLayer:
    """A layer without the weights of some heads.

    Attributes:
        graphdef: of the module, or dict of modules.
        params: of it.
        kept: the heads it still has.
    """

    graphdef: Any
    params: Any
    kept: OpenHeads

    def serves(self, wanted: OpenHeads) -> bool:
        """Whether it has every head that is wanted."""
        return all(not (wanted[key] & ~kept).any() for key, kept in self.kept.items())


def narrow_layer(layers: dict[str, Any], kept: OpenHeads) -> NarrowLayer | None:
    """The layer with only these heads, or None where it would keep them all.

    Args:
        layers: The layer's modules, each with an `attention`, by side.
        kept: of this layer; at least one head of a module always stays.
    """
    if all(mask.all() for mask in kept.values()):
        return None
    kept = {key: mask if mask.any() else np.arange(len(mask)) == 0 for key, mask in kept.items()}
    layers = with_heads(layers, {key: jnp.asarray(np.flatnonzero(mask)) for key, mask in kept.items()})
    graphdef, params = nnx.split(layers)
    return NarrowLayer(graphdef, params, kept)


def with_heads(layers: dict[str, Any], indices: HeadIndices) -> dict[str, Any]:
    """The layer with the weights of only these heads.

    Args:
        layers: The layer's modules, each with an `attention`, by side.
        indices: of the heads that stay.
    """
    narrow = {side: nnx.clone(module) for side, module in layers.items()}
    for (key, part), kept in indices.items():
        module = narrow[key.side]
        setattr(module, PARTS[part], getattr(module, PARTS[part]).narrowed(kept))
    return narrow


def grouped(wanted: OpenHeads) -> HeadIndices | None:
    """Indices of the wanted heads, filled up to whole groups with others; None where that would be all of them.

    Args:
        wanted: heads of a layer that any example of a batch opens.
    """
    indices, fewer = {}, False
    for key, mask in wanted.items():
        size = -(-len(mask) // HEAD_GROUPS)
        count = min(round_up(max(int(mask.sum()), 1), size), len(mask))
        indices[key] = jnp.asarray(np.sort(np.argsort(~mask, kind="stable")[:count]))
        fewer |= count < len(mask)
    return indices if fewer else None
