"""Runs of equal layers: parameters stacked on a leading axis, folded by `lax.scan` or unrolled.

The parameter tree is the same either way, so both are switches of the execution, not of the checkpoint.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

Remat = Literal["none", "full", "dots"]

POLICIES: dict[str, Any] = {
    "full": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def stack(make: Callable[[nnx.Rngs], Any], depth: int, rngs: nnx.Rngs) -> Any:
    """One module whose every parameter holds `depth` layers, `[depth, ...]`, each with its own initial weights."""
    return nnx.vmap(lambda key: make(nnx.Rngs(key)))(jax.random.split(rngs.params(), depth))


def unstack(params: Any) -> list[Any]:
    """The parameters of every single layer, from those of a stacked module."""
    leaves, treedef = jax.tree.flatten(params)
    # lax.split and not indexing: its transpose is one concatenation instead of a padded sum per layer.
    columns = [jax.lax.split(leaf, (1,) * leaf.shape[0], axis=0) for leaf in leaves]
    layers = zip(*columns, strict=True)
    return [jax.tree.unflatten(treedef, [leaf.squeeze(0) for leaf in layer]) for layer in layers]


def fold(
    step: Callable[[Any, Any, Any, Any], tuple[Any, Any]],
    carry: Any,
    layers: Any,
    inputs: Any,
    *,
    depth: int,
    late: Any = None,
    first: int = 0,
    start: int = 0,
    stop: int | None = None,
    scan: bool = False,
    remat: Remat = "none",
) -> tuple[Any, Any]:
    """Runs `carry, out = step(layer, companion, carry, input)` over a run of layers.

    Args:
        step: one layer; its companion is None before layer `first`.
        carry: what goes from layer to layer.
        layers: a stacked module, or a tuple of them.
        inputs: a tree of arrays with a leading axis of layers (keys, rates).
        depth: number of layers.
        late: companions of the layers from `first` on: a stacked module of `depth - first`, or None.
        first: the first layer with a companion.
        start: the first layer that runs.
        stop: runs no more.
        scan: one compiled layer and `lax.scan`, instead of `depth` copies.
        remat: what the backward pass recomputes: nothing, everything, or all but matrix products.

    Returns:
        The last carry, and the outputs stacked on a leading axis of layers.
    """
    stop = depth if stop is None else stop
    alone = stop if late is None else min(max(start, first), stop)
    parts = []
    for begin, end in ((start, alone), (alone, stop)):
        if begin < end:
            companions = None if end == alone else _slice(late, begin - first, end - first, depth - first)
            modules = (_slice(layers, begin, end, depth), companions)
            chunk = jax.tree.map(lambda leaf, begin=begin, end=end: leaf[begin:end], inputs)
            carry, out = _run(step, carry, modules, chunk, scan=scan, remat=remat)
            parts.append(out)
    return carry, jax.tree.map(lambda *outs: jnp.concatenate(outs), *parts)


def _run(
    step: Callable[[Any, Any, Any, Any], tuple[Any, Any]],
    carry: Any,
    modules: tuple[Any, Any],
    inputs: Any,
    *,
    scan: bool,
    remat: Remat,
) -> tuple[Any, Any]:
    """`fold` for layers that all have, or all lack, a companion."""
    graphdef, params = nnx.split(modules)

    def apply(carry: Any, params_and_input: tuple[Any, Any]) -> tuple[Any, Any]:
        layer, companion = nnx.merge(graphdef, params_and_input[0])
        return step(layer, companion, carry, params_and_input[1])

    if remat != "none":
        apply = jax.checkpoint(apply, policy=POLICIES[remat], prevent_cse=not scan)
    if scan:
        return jax.lax.scan(apply, _varying(carry, (params, inputs)), (params, inputs))
    outputs = []
    for index, layer in enumerate(unstack(params)):
        item = jax.tree.map(lambda leaf, index=index: leaf[index], inputs)
        carry, output = apply(carry, (layer, item))
        outputs.append(output)
    return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)


def _varying(carry: Any, others: Any) -> Any:
    """The carry as a scan gives it back: inside `jax.shard_map` it differs between devices as anything else does."""
    axes = [jax.typeof(leaf).manual_axis_type.varying for leaf in jax.tree.leaves((carry, others))]
    every = frozenset[str]().union(*axes)

    def vary(leaf: jax.Array) -> jax.Array:
        missing = tuple(every - jax.typeof(leaf).manual_axis_type.varying)
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(vary, carry)


def _slice(module: Any, start: int, stop: int, depth: int) -> Any:
    if (start, stop) == (0, depth):
        return module
    graphdef, params = nnx.split(module)
    return nnx.merge(graphdef, jax.tree.map(lambda leaf: leaf[start:stop], params))
