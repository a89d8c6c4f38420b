"""Where activations lie on many devices: split over examples, as the batch is, whatever the parameters' layout."""

import math
from typing import TypeVar

import jax
from jax.sharding import PartitionSpec

T = TypeVar("T")

EXAMPLE_AXES = ("data", "fsdp")
"""Of the mesh: each of their devices has examples of its own."""
EXAMPLES = PartitionSpec(EXAMPLE_AXES)
"""How a batch, and every array that has a row for each example, is split."""


def split_examples(tree: T) -> T:
    """Keeps arrays `[examples, ...]` split over their examples; without a mesh (`jax.set_mesh`) nothing changes.

    Left alone, XLA may move activations of the whole batch to where a layer's parameters are, instead of the other
    way round. Arrays whose rows do not divide evenly are left to it.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not set(EXAMPLE_AXES) <= set(mesh.axis_names):
        return tree
    parts = math.prod(mesh.shape[axis] for axis in EXAMPLE_AXES)
    if parts == 1 and mesh.size == 1:
        return tree

    def split(leaf: jax.Array) -> jax.Array:
        return leaf if leaf.shape[0] % parts else jax.lax.with_sharding_constraint(leaf, EXAMPLES)

    return jax.tree.map(split, tree)
