"""One attention function for all layers, layouts and kernels, which chooses the kernel."""

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
"""The attention kernel of evaluation: plain JAX, cuDNN (NVIDIA), splash (TPU), or "auto", which suits the device."""


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
    """Attention of tokens over the open tokens of a source.

    Args:
        tokens: The tokens that the queries belong to. A padded batch may have several rows for each row of `source`;
            consecutive rows then read the same one.
        query: One query per token of `tokens`, laid out like `tokens.values`, `[..., heads, head_width]`.
        key: One key per token of `source`, laid out like `source.values`.
        value: One value per token of `source`, laid out like `source.values`.
        source: The tokens that are read; None reads `tokens` (self-attention).
        head_gate: `[batch, heads]`, multiplies the output of each head; None leaves the output as it is.
        causal: Whether each token reads only itself and the tokens before it. Always computed in plain JAX, whatever
            `kernel` says.
        drop: Function that applies dropout to the attention weights `[batch, heads, queries, keys]`, for training.
            Gradients reach the gates of the keys only if it is given; differentiating them without it raises an
            error.
        kernel: The kernel of evaluation; not used if `drop` is given.

    Returns:
        The weighted means of the values, laid out like `query`.

    Raises:
        ConfigError: The kernel does not support the data type or head width, or gates are differentiated without
            `drop`.
        ValueError: `causal` is set together with `source`.
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
    """Returns the gate, and raises an error if it is differentiated.

    The kernels of evaluation would silently give the gate no gradient.
    """
    return gate


@_untrained.defjvp
def _refuse(primals: Any, tangents: Any) -> NoReturn:
    raise ConfigError(
        "attention without `drop` gives the gates of its keys no gradient; pass a training key to the model, or "
        "drop=lambda weights: weights to attend"
    )


def _suited(query: Array) -> Kernel:
    """Chooses the kernel for this process's device: splash on TPUs, cuDNN on NVIDIA GPUs if it suits, else "xla"."""
    platform = jax.default_backend()
    if platform == "tpu":
        return "splash"
    is_nvidia = platform == "gpu" and "cuda" in jax.devices()[0].client.platform_version
    return "cudnn" if is_nvidia and suits_cudnn(query) else "xla"
