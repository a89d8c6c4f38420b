"""The attention of a layer, for policies that score tokens by what it would compute."""

from typing import Any, TypeVar

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.nn.attention import Attention
from smarttrim_jax.tokens import Tokens

T = TypeVar("T", bound=Tokens)


def self_attention(layer: Any, tokens: T, policy: str) -> tuple[Attention, T]:
    """Finds a layer's self-attention, and what it reads.

    Args:
        layer: A layer with `attention` and `attention_input`, as those of `smarttrim_jax.nn.layers`.
        tokens: The layer's input, in any layout.
        policy: Name of the policy, for the error message.

    Returns:
        The attention module, and the tokens that its keys are computed from.

    Raises:
        ConfigError: The layer has no such attributes.
    """
    if not (hasattr(layer, "attention_input") and isinstance(getattr(layer, "attention", None), Attention)):
        raise ConfigError(
            f"the policy {policy} needs layers with an Attention named attention and a method "
            f"attention_input(tokens), which {type(layer).__name__} has not; smarttrim_jax.nn.layers has such layers"
        )
    return layer.attention, layer.attention_input(tokens)
