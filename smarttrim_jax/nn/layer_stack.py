"""Stacks of equal layers: parameters with a leading axis of layers, folded by `lax.scan` or unrolled.

The parameter tree is the same in both cases, so scanning is a choice of execution and not part of a checkpoint.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

M = TypeVar("M", bound=nnx.Module)

Remat = Literal["none", "full", "dots"]
"""What the backward pass recomputes: "none", "full" (everything), or "dots" (everything except matrix products)."""

POLICIES: dict[str, Any] = {
    "full": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}
"""The policy of `jax.checkpoint` for each value of `Remat` except "none"."""


def stack(make: Callable[[nnx.Rngs], M], depth: int, rngs: nnx.Rngs) -> M:
    """Builds several equal layers as one module whose parameters have a leading axis of layers.

    Args:
        make: Builds one layer from its random numbers.
        depth: Number of layers.
        rngs: Random numbers of the initial weights; each layer gets its own.

    Returns:
        A module whose parameters have the shape `[depth, ...]`.
    """
    stacked: M = nnx.vmap(lambda key: make(nnx.Rngs(key)))(jax.random.split(rngs.params(), depth))
    return stacked


def unstack(params: Any) -> list[Any]:
    """Splits stacked parameters into those of each layer.

    Args:
        params: Tree of arrays `[depth, ...]`, such as the state of a stacked module.

    Returns:
        A list of `depth` trees of arrays `[...]`.
    """
    leaves, treedef = jax.tree.flatten(params)
    # lax.split instead of indexing: its transpose is one concatenation instead of one padded sum per layer.
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
        step: Function that computes one layer; its companion is None before layer `first`.
        carry: Value that is passed from layer to layer.
        layers: A stacked module, or a tuple of them.
        inputs: Tree of arrays with a leading axis of layers, such as random keys and drop-path rates.
        depth: Number of layers in the stack.
        late: Companion modules (such as trimming policies) of the layers from `first` on, a stacked module of `depth
            - first` layers; None if there are none.
        first: Index of the first layer with a companion.
        start: Index of the first layer that runs.
        stop: Index behind the last layer that runs; None runs to the end.
        scan: Whether to compile one layer and run it by `lax.scan`, instead of compiling each layer.
        remat: What the backward pass recomputes: nothing, everything, or everything except matrix products.

    Returns:
        The last carry, and the outputs of all layers stacked on a leading axis.
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
    """Implements `fold` for layers that all have a companion or all have none."""
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
    """Marks the carry as varying over all mesh axes of the operands, as `lax.scan` in `jax.shard_map` requires."""
    axes = [jax.typeof(leaf).manual_axis_type.varying for leaf in jax.tree.leaves((carry, others))]
    every = frozenset[str]().union(*axes)

    def vary(leaf: jax.Array) -> jax.Array:
        missing = tuple(every - jax.typeof(leaf).manual_axis_type.varying)
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(vary, carry)


def _slice(module: Any, start: int, stop: int, depth: int) -> Any:
    """The layers from `start` to before `stop` of a stacked module of `depth` layers."""
    if (start, stop) == (0, depth):
        return module
    graphdef, params = nnx.split(module)
    return nnx.merge(graphdef, jax.tree.map(lambda leaf: leaf[start:stop], params))
