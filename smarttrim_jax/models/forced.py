"""A model whose trimmers decide by tables: for benchmarks and tests of any keep rate."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.trimming.forced import ForcedHeadTrimmer, ForcedTokenTrimmer


@dataclasses.dataclass(frozen=True)
class ForcedFunctional(Functional):
    """`Functional` with overruled trimmers, for batches of the tables' size; a table of one row is for any.

    Attributes:
        tokens: `[batch, tokens]` (or `[layers that trim, batch, tokens]`), by run; see `ForcedTokenTrimmer`.
        heads: `[batch, heads]` (or with layers) of self- and cross-attention, by the run's name.
    """

    tokens: dict[str, Float[Array, "..."]] = dataclasses.field(default_factory=dict)
    heads: dict[str, Float[Array, "..."]] = dataclasses.field(default_factory=dict)

    def bind(self, params: Params) -> Any:
        """The module with these parameters, its trimmers overruled."""
        model: Any = super().bind(params)
        for name, trimmers in model.trimmers.items():
            depth = jax.tree.leaves(nnx.state(trimmers))[0].shape[0]
            if name in self.tokens and trimmers.token is not None:
                trimmers.token = ForcedTokenTrimmer(trimmers.token, _by_layer(self.tokens[name], depth))
            for part in ("head", "cross_head", "twin_head") if name in self.heads else ():
                trimmer = getattr(trimmers, part)
                if trimmer is not None:
                    setattr(trimmers, part, ForcedHeadTrimmer(trimmer, _by_layer(self.heads[name], depth)))
        return model


def _by_layer(table: Array, depth: int) -> Array:
    return table if table.ndim == 3 else jnp.broadcast_to(table, (depth, *table.shape))
