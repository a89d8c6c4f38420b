"""Removes what training programs put around weights: entries beside them, and prefixes of their names."""

import re
from collections.abc import Mapping
from typing import Any

from smarttrim_jax.errors import CheckpointError

WRAPPERS = (
    "state_dict",  # Lightning, MoCo
    "model_state_dict",  # PyTorch's tutorials
    "model",  # BLIP, DeiT, fairseq
    "module",  # DeepSpeed
    "net",
    "network",
    "params",
    "weights",
    # Averages come last, so that the trained weights are used if a file holds both.
    "model_ema",
    "ema_state_dict",
    "state_dict_ema",
    "ema",
)
"""Names of entries that hold the weights beside the optimizer's state and the like; the first that exists is used."""

PREFIXES = re.compile(r"^(?:(?:module|model|_forward_module|_orig_mod|_fsdp_wrapped_module)\.)+")
"""Prefixes of DataParallel, Lightning, its strategies, `torch.compile` and FSDP, which may be nested."""

INSIDE = re.compile(r"\.(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(?=\.)")
"""Parts that modules compiled or wrapped on their own add anywhere inside a name."""


def unwrapped(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Finds the weights in the content of a file, by their names in the model alone.

    Args:
        content: Weights by name, or a mapping in which a training program saved them.

    Returns:
        Weights by name, without wrappers and prefixes.

    Raises:
        CheckpointError: Some names have a prefix and others do not, or two names are equal without it.
    """
    weights = content
    while (inner := _inner(weights)) is not None:
        weights = inner
    names = [str(name) for name in weights]
    prefixed = [name for name in names if PREFIXES.match(name)]
    if prefixed and len(prefixed) < len(names):
        other = next(name for name in names if not PREFIXES.match(name))
        raise CheckpointError(
            f"{len(prefixed)} of {len(names)} weights have the prefix of a wrapper ('{prefixed[0]}'), others have "
            f"none ('{other}'); save the state_dict of one model alone"
        )
    found: dict[str, Any] = {}
    for name, weight in zip(names, weights.values(), strict=True):
        bare = INSIDE.sub("", PREFIXES.sub("", name, count=1))
        if bare in found:
            raise CheckpointError(
                f"two weights are called '{bare}' without the prefixes of wrappers, one of them '{name}'; save the "
                "state_dict of one model alone"
            )
        found[bare] = weight
    return found


def _inner(content: Mapping[Any, Any]) -> Mapping[Any, Any] | None:
    """The content of a wrapper; None if this is none."""
    found = (content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping))
    return next((inner for inner in found if inner), None)
