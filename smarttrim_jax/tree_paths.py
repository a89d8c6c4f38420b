"""Names of the leaves of a tree: the path joined by "/", as in `image/layers/mlp/up/kernel`."""

from collections.abc import Callable
from typing import Any

import jax


def leaf_name(path: tuple[Any, ...]) -> str:
    """Formats a key path of `jax.tree_util`.

    Args:
        path: The key path.

    Returns:
        Its keys joined by "/".
    """
    return jax.tree_util.keystr(path, simple=True, separator="/")


def map_with_names(function: Callable[..., Any], tree: Any) -> Any:
    """Applies a function to the names and leaves of a tree.

    Args:
        function: Function of a leaf's name and the leaf.
        tree: The tree.

    Returns:
        The tree of results.
    """
    return jax.tree_util.tree_map_with_path(lambda path, leaf: function(leaf_name(path), leaf), tree)


def named_leaves(tree: Any) -> dict[str, Any]:
    """Lists the leaves of a tree by name.

    Args:
        tree: The tree.

    Returns:
        The leaves by name, in the order of the tree.
    """
    return {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
