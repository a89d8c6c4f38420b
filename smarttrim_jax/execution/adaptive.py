"""One program for every cost: the bucket is chosen on the device, layer by layer.

The closed tokens of a padded state are removed for the duration of one layer. The layer has branches that differ in
the number of tokens they hold, and `lax.switch` takes the smallest one that holds the batch's open tokens. The host
is not involved, so the whole model is one program that can be exported.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from smarttrim_jax.configuration import Settings
from smarttrim_jax.models.base import Output, VisionLanguageModel, run_stages
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
        shares: Shares of the tokens that the branches hold, for each side that a layer changes; 1 is always among
            them.
        longest: How much longer than the batch's mean its longest example may be in a branch.
        multiple: Sizes are multiples of it; 128 suits TPUs.
        scan: Compile one layer of each run and loop over it; otherwise each layer has branches of its own.
    """

    shares: tuple[ShareAboveZero, ...] = (0.15, 0.25, 0.35, 0.5, 0.7)
    longest: Annotated[float, at_least(1)] = 1.5
    multiple: PositiveInt = 8
    scan: bool = True


def adaptive_apply(
    model: Functional,
    config: AdaptiveConfig,
    params: Params,
    images: Array,
    ids: Array | None,
    mask: Array | None,
    trim: Trim,
) -> Output:
    """Computes a model's call for evaluation, leaving out the work of closed tokens.

    Args:
        model: The model as functions of its parameters.
        config: The branches of each layer.
        params: The model's parameters.
        images: Normalised images, `[batch, height, width, 3]` or `[batch, images, height, width, 3]`.
        ids: Token ids of the texts, `[batch, tokens]`; None for a model of images alone.
        mask: 1 for tokens, 0 for padding, `[batch, tokens]`; None where there are no ids.
        trim: How the trimmers decide.

    Returns:
        The output of the call, equal to that of padded execution for open tokens; the vectors of closed tokens in the
        state are those at the time they closed.
    """
    bound: VisionLanguageModel = model.bind(params)
    stages = [_switched(stage, config) if isinstance(stage, LayerRun) else stage for stage in bound.stages]
    return bound.read_out(*run_stages(bound, stages, bound.start(images, ids, mask), trim, None))


def _switched(run: LayerRun, config: AdaptiveConfig) -> LayerRun:
    """Adds branches to a run of layers, one for each combination of its sides' sizes."""

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
        changed: State = jax.lax.switch(wanted, branches, state)
        return state | changed

    return dataclasses.replace(run, compute=compute, scan=config.scan)


def _sizes(tokens: Tokens, config: AdaptiveConfig) -> list[tuple[int, int]]:
    """Lists packed length and row capacity of each branch in ascending order; the last one holds everything."""
    batch, length = tokens.shape

    def rounded(count: float, most: int) -> int:
        return min(round_up(count, config.multiple), most)

    sizes = []
    for share in sorted({*config.shares, 1.0}):
        kept = max(share * length, 1.0)  # at least the global token of each example, which never closes
        packed_length = rounded(kept * batch, batch * length)
        row_capacity = packed_length if batch == 1 else rounded(config.longest * kept, length)
        if (packed_length, row_capacity) not in sizes:
            sizes.append((packed_length, row_capacity))
    return sizes


def _smallest(counts: Int[Array, " batch"], sizes: list[tuple[int, int]]) -> Int[Array, ""]:
    """The index of the first size that holds all open tokens of the batch and those of its longest example."""
    packed_length, row_capacity = (jnp.asarray(part) for part in zip(*sizes, strict=True))
    holds = (jnp.sum(counts) <= packed_length) & (jnp.max(counts) <= row_capacity)
    return jnp.argmax(holds).astype(jnp.int32)


def _put_back(tokens: Tokens, small: Tokens) -> Padded:
    """Writes the vectors of the tokens that were computed back into the padded state."""
    gate = tokens.padded_gate
    values = jnp.where(gate[..., None] > 0, small.pad(small.values), tokens.values)
    return Padded(values, gate)
