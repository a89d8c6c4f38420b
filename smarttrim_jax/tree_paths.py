"""Names of the leaves of a tree: the path joined by "/", as in `image/layers/mlp/up/kernel`."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict


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


def flat_dict(params: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens nested dicts, such as the parameters of a model.

    Args:
        params: Nested dicts whose keys are texts.

    Returns:
        The leaves by name, in the order of the dicts.
    """
    leaves: dict[str, Any] = flatten_dict(params, sep="/")
    return leaves


def nested_dict(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Nests a flat dict; the inverse of `flat_dict`.

    Args:
        leaves: Leaves by name.

    Returns:
        Nested dicts of the leaves.
    """
    params: dict[str, Any] = unflatten_dict(leaves, sep="/")
    return params
