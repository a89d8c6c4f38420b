"""Dispatch of attention: one function for all layers, layouts and kernels."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NoReturn, cast

import jax
from jaxtyping import Array, Float

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.tokens.attention.cudnn import mix_cudnn, suits_cudnn
from smarttrim_jax.tokens.attention.plain import mix_gated, mix_rows
from smarttrim_jax.tokens.attention.ragged import mix_ragged, suits_ragged
from smarttrim_jax.tokens.attention.splash import mix_splash
from smarttrim_jax.tokens.layout import Tokens
from smarttrim_jax.tokens.packed import Packed
from smarttrim_jax.tokens.padded import Padded

Kernel = Literal["auto", "xla", "cudnn", "splash"]
"""Who computes attention in evaluation: plain JAX, cuDNN (NVIDIA), splash (TPU), or whichever suits the device."""


def attend(
    tokens: Tokens,
    query: Float[Array, "... heads head_width"],
    key: Float[Array, "... heads head_width"],
    value: Float[Array, "... heads head_width"],
    *,
    source: Tokens | None = None,
    head_gate: Float[Array, "batch heads"] | None = None,
    causal: bool = False,
    drop: Callable[[Array], Array] | None = None,
    kernel: Kernel = "auto",
) -> Float[Array, "... heads head_width"]:
    """Attention of tokens over the open ones of `source`.

    Args:
        tokens: which the queries belong to; several rows of a padded batch may read one of `source`, in their order.
        query: one for each of `tokens`, laid out like them.
        key: one for each of `source`.
        value: one for each of `source`.
        source: what is read; `tokens` themselves by default.
        head_gate: multiplies each head's output.
        causal: no token reads those behind it; computed in plain JAX, whatever the kernel.
        drop: dropout on the attention weights, in training: only then do gradients reach the gates of the keys, and
            asking for them without it is an error.
        kernel: who computes in evaluation.

    Raises:
        ConfigError: a kernel that does not compute with such numbers; gates that are differentiated without `drop`.
        ValueError: a causal order between tokens and a source.
    """
    if causal and source is not None:
        raise ValueError("tokens are in causal order among themselves, not with a source")
    keys = tokens if source is None else source
    if isinstance(tokens, Padded) and tokens.shape[0] != keys.shape[0]:
        shared = tokens.regroup(keys.shape[0])
        together = query.reshape(*shared.shape, *query.shape[2:])
        mixed = attend(shared, together, key, value, source=keys, head_gate=head_gate, drop=drop, kernel=kernel)
        return mixed.reshape(query.shape)
    if drop is None:
        keys = dataclasses.replace(cast(Any, keys), gate=_untrained(keys.gate))
    kernel = _suited(query) if kernel == "auto" else kernel
    if drop is not None:
        mixed = tokens.unrow(
            mix_gated(tokens.rows(query), keys.rows(key), keys.rows(value), keys.row_gate, drop, causal=causal)
        )
    elif causal:
        mixed = mix_rows(tokens, keys, query, key, value, causal=True)
    elif kernel == "cudnn":
        mixed = mix_cudnn(tokens, keys, query, key, value)
    elif kernel == "splash":
        mixed = mix_splash(tokens, keys, query, key, value)
    elif isinstance(tokens, Packed) and isinstance(keys, Packed) and suits_ragged(tokens, keys, query):
        mixed = mix_ragged(tokens, keys, query, key, value)
    else:
        mixed = mix_rows(tokens, keys, query, key, value)
    if head_gate is not None:
        mixed = mixed * tokens.spread(head_gate)[..., None].astype(mixed.dtype)
    return mixed


@jax.custom_jvp
def _untrained(gate: Float[Array, "..."]) -> Float[Array, "..."]:
    """The gate itself, which nobody may differentiate: attention in evaluation would silently give it no gradient."""
    return gate


@_untrained.defjvp
def _refuse(primals: Any, tangents: Any) -> NoReturn:
    raise ConfigError(
        "attention without `drop` gives the gates of its keys no gradient; pass a training key to the model, or "
        "drop=lambda weights: weights to attend"
    )


def _suited(query: Array) -> Kernel:
    """The kernel for this process's device."""
    platform = jax.default_backend()
    if platform == "tpu":
        return "splash"
    is_nvidia = platform == "gpu" and "cuda" in jax.devices()[0].client.platform_version
    return "cudnn" if is_nvidia and suits_cudnn(query) else "xla"
