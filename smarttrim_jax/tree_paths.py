"""Names of the leaves of a tree: the "/"-joined path, as in `image/layers/mlp/up/kernel`."""

from collections.abc import Callable
from typing import Any

import jax


def leaf_name(path: tuple[Any, ...]) -> str:
    """The "/"-joined name of one key path of `jax.tree_util`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def map_with_names(function: Callable[..., Any], tree: Any) -> Any:
    """The tree of `function(name, leaf)`."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: function(leaf_name(path), leaf), tree)


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves by name, in the order of the tree."""
    return {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
