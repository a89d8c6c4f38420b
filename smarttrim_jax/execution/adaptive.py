"""One program for every cost: the bucket is chosen on the device, layer by layer.

The closed tokens of a padded state leave memory for the length of one layer only: its branches differ in how many
tokens they hold, and `lax.switch` takes the smallest that holds the batch's. No host is asked, so that the whole
model is one program that can be exported.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from smarttrim_jax.configuration import Settings
from smarttrim_jax.models.base import Output, run_stages
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.models.segments import LayerRun, State
from smarttrim_jax.ranges import PositiveInt, ShareAboveZero, at_least
from smarttrim_jax.tokens import Padded, Tokens, compact
from smarttrim_jax.tokens.rounding import round_up
from smarttrim_jax.trimming.gates import GatesByKey, Trim


@dataclasses.dataclass(frozen=True)
class AdaptiveConfig(Settings):
    """The branches of the adaptive program.

    Attributes:
        shares: of the tokens that a branch holds, for each side that a layer changes; 1 is always among them.
        longest: how much longer than the batch's mean its longest example may be in a branch.
        multiple: sizes are multiples of it; 128 suits TPUs.
        scan: compile one layer of each run and loop over it; otherwise every layer has branches of its own.
    """

    shares: tuple[ShareAboveZero, ...] = (0.15, 0.25, 0.35, 0.5, 0.7)
    longest: Annotated[float, at_least(1)] = 1.5
    multiple: PositiveInt = 8
    scan: bool = True


def adaptive_apply(
    model: Functional, config: AdaptiveConfig, params: Params, images: Array, ids: Array, mask: Array, trim: Trim
) -> Output:
    """A model's call for evaluation, with the work of closed tokens left out.

    Args:
        model: whose parameters these are.
        config: of the branches.
        params: of the model.
        images: as in a model's call.
        ids: of the text's tokens.
        mask: 1 for tokens, 0 for padding.
        trim: how the trimmers decide.
    """
    bound = model.bind(params)
    stages = [_switched(stage, config) if isinstance(stage, LayerRun) else stage for stage in bound.stages]
    return bound.read_out(*run_stages(bound, stages, bound.start(images, ids, mask), trim, None))


def _switched(run: LayerRun, config: AdaptiveConfig) -> LayerRun:
    """The run with a branch for every combination of its sides' sizes."""

    def compute(layers: Any, state: State, gates: GatesByKey, key: None, **inputs: Array) -> State:
        ladders = {side: _sizes(state[side], config) for side in run.side_names}
        wanted = jnp.zeros((), jnp.int32)
        for side, sizes in ladders.items():
            wanted = wanted * len(sizes) + _smallest(state[side].counts, sizes)

        def branch(sizes: tuple[tuple[int, int], ...]) -> Callable[[State], State]:
            def at_this_size(state: State) -> State:
                chosen = zip(run.side_names, sizes, strict=True)
                small = {
                    side: compact(state[side], packed_length, row_capacity)
                    for side, (packed_length, row_capacity) in chosen
                }
                after = run.compute(layers, state | small, gates, key, **inputs)
                return {side: _put_back(state[side], after[side]) for side in run.side_names}

            return at_this_size

        branches = [branch(sizes) for sizes in itertools.product(*ladders.values())]
        return state | jax.lax.switch(wanted, branches, state)

    return dataclasses.replace(run, compute=compute, scan=config.scan)


def _sizes(tokens: Tokens, config: AdaptiveConfig) -> list[tuple[int, int]]:
    """Packed length and row capacity of every branch, ascending; the last holds everything."""
    batch, length = tokens.shape

    def rounded(count: float, most: int) -> int:
        return min(round_up(count, config.multiple), most)

    sizes = []
    for share in sorted({*config.shares, 1.0}):
        kept = max(share * length, 1.0)  # of every example, whose global token is never closed
        packed_length = rounded(kept * batch, batch * length)
        row_capacity = packed_length if batch == 1 else rounded(config.longest * kept, length)
        if (packed_length, row_capacity) not in sizes:
            sizes.append((packed_length, row_capacity))
    return sizes


def _smallest(counts: Int[Array, " batch"], sizes: list[tuple[int, int]]) -> Int[Array, ""]:
    """The first size that holds all tokens, and the longest example's."""
    packed_length, row_capacity = (jnp.asarray(part) for part in zip(*sizes, strict=True))
    holds = (jnp.sum(counts) <= packed_length) & (jnp.max(counts) <= row_capacity)
    return jnp.argmax(holds).astype(jnp.int32)


def _put_back(tokens: Tokens, small: Tokens) -> Padded:
    """The padded state with the new values of the tokens that were computed."""
    gate = tokens.padded_gate
    values = jnp.where(gate[..., None] > 0, small.pad(small.values), tokens.values)
    return Padded(values, gate)
