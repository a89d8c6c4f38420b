"""Removal of heads from a layer's weights: those that no calibration example, or no example of a batch, opens.

The result stays exact: if a later example opens a head that calibration did not see, the layer runs with all heads.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Int

from smarttrim_jax.models.segments import LayerRun
from smarttrim_jax.nn.attention import Attention
from smarttrim_jax.tokens.rounding import round_up
from smarttrim_jax.trimming.gates import GateKey, GatesByKey

PARTS = {"heads": "attention", "cross_heads": "cross_attention", "twin_heads": "twin_attention"}
"""The module that each field of a layer's head gates belongs to."""

OpenHeads = dict[tuple[GateKey, str], Bool[np.ndarray, "*layers heads"]]
"""Whether any example opens a head, by the gates' key and field."""


def open_heads(gates: GatesByKey) -> OpenHeads:
    """Finds the heads that any example of a record opens.

    Args:
        gates: The gates of a record, with a leading axis of layers.

    Returns:
        `[layers, heads]` for each gates' key and field.
    """
    return {
        (key, part): np.asarray(np.any(opened, axis=-2))
        for key, gate in gates.items()
        for part, opened in gate.modules.items()
    }


def together(first: OpenHeads, second: OpenHeads) -> OpenHeads:
    """Joins the open heads of two records.

    Args:
        first: Open heads of one record; empty for none.
        second: Open heads of the other.

    Returns:
        The heads that are open in either.
    """
    return {key: first[key] | second[key] for key in first} if first else second


HEAD_GROUPS = 4
"""The number of groups that a module's heads are rounded up to, so that few programs are compiled."""

HeadIndices = dict[tuple[GateKey, str], Int[Array, " fewer"]]
"""Indices of the heads that a layer runs with, by the gates' key and field."""


@dataclasses.dataclass(frozen=True)
class NarrowLayer:
    """A layer without the weights of some heads.

    Attributes:
        graphdef: Graph definition of the layer's modules.
        params: Parameters of the layer's modules.
        kept: The heads that remain.
    """

    graphdef: Any
    params: Any
    kept: OpenHeads

    def serves(self, wanted: OpenHeads) -> bool:
        """Tells whether the layer has all heads that are wanted.

        Args:
            wanted: Heads that any example opens, `[heads]` for each gates' key and field.

        Returns:
            Whether it has them.
        """
        return all(not (wanted[key] & ~kept).any() for key, kept in self.kept.items())


def can_narrow(run: LayerRun) -> bool:
    """Tells whether heads can be removed from the weights of a run's layers.

    They can where the library's `Attention` is found under every name of `PARTS` that the layers need. Layers with an
    attention of the user's own keep all heads, and multiply the output of closed ones by 0.

    Args:
        run: The run, with its layers.

    Returns:
        True if `with_heads` can narrow every attention module of the layers.
    """
    return all(
        isinstance(getattr(run.layers.get(side.name), part, None), Attention)
        for side in run.sides
        if side.heads
        for part in list(PARTS.values())[: 1 + len(side.others)]
    )


def narrow_layer(layers: dict[str, Any], kept: OpenHeads) -> NarrowLayer | None:
    """Removes heads from a layer's weights.

    Args:
        layers: The layer's modules by side.
        kept: The heads that remain, `[heads]` for each gates' key and field; where none is kept, the first head
            remains.

    Returns:
        The narrower layer; None if all heads are kept.
    """
    if all(mask.all() for mask in kept.values()):
        return None
    kept = {key: mask if mask.any() else np.arange(len(mask)) == 0 for key, mask in kept.items()}
    layers = with_heads(layers, {key: jnp.asarray(np.flatnonzero(mask)) for key, mask in kept.items()})
    graphdef, params = nnx.split(layers)
    return NarrowLayer(graphdef, params, kept)


def with_heads(layers: dict[str, Any], indices: HeadIndices) -> dict[str, Any]:
    """Makes a layer with the weights of some heads only.

    Args:
        layers: The layer's modules by side.
        indices: Indices of the heads that remain, by the gates' key and field.

    Returns:
        Copies of the modules with narrower attention.
    """
    narrow = {side: nnx.clone(module) for side, module in layers.items()}
    for (key, part), kept in indices.items():
        module = narrow[key.side]
        setattr(module, PARTS[part], getattr(module, PARTS[part]).narrowed(kept))
    return narrow


def grouped(wanted: OpenHeads) -> HeadIndices | None:
    """Rounds the wanted heads up to whole groups.

    Args:
        wanted: Heads of a layer that any example of a batch opens, `[heads]` for each gates' key and field.

    Returns:
        Ascending indices of the wanted heads and of others that fill up the groups; None if these are all heads.
    """
    indices, fewer = {}, False
    for key, mask in wanted.items():
        size = -(-len(mask) // HEAD_GROUPS)
        count = min(round_up(max(int(mask.sum()), 1), size), len(mask))
        indices[key] = jnp.asarray(np.sort(np.argsort(~mask, kind="stable")[:count]))
        fewer |= count < len(mask)
    return indices if fewer else None
