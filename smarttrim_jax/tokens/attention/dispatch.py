"""One attention function for all layers, layouts and kernels, which chooses the kernel."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NoReturn, cast

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.sharding import AXES, EXAMPLE_AXES
from smarttrim_jax.tokens.attention.cudnn import mix_cudnn, suits_cudnn
from smarttrim_jax.tokens.attention.flash import mix_flash
from smarttrim_jax.tokens.attention.plain import mix_gated, mix_rows
from smarttrim_jax.tokens.attention.ragged import mix_ragged, suits_ragged
from smarttrim_jax.tokens.attention.splash import mix_splash
from smarttrim_jax.tokens.layout import Tokens
from smarttrim_jax.tokens.packed import Packed
from smarttrim_jax.tokens.padded import Padded

Kernel = Literal["auto", "xla", "cudnn", "splash"]
"""The attention kernel of training and evaluation: plain JAX ("xla"), cuDNN (NVIDIA), "splash" (TPU), in whose place
packed tokens take `flash.py`, or "auto", which suits the device. Causal attention, and training with dropout of
attention weights, are plain JAX in any case."""

RowKernel = Callable[[Array, Array, Array, Array], Array]
"""Function of queries, keys and values (`[batch, places, heads, head_width]`) and of the gates of the keys (`[batch,
keys]`), which gives the weighted means of the values, laid out like the queries; differentiable in all four."""
FUSED: dict[str, RowKernel] = {"cudnn": mix_cudnn, "splash": mix_splash}


def attend(
    tokens: Tokens,
    query: Float[Array, "... heads head_width"],
    key: Float[Array, "... heads head_width"],
    value: Float[Array, "... heads head_width"],
    *,
    source: Tokens | None = None,
    head_gate: Float[Array, "batch heads"] | None = None,
    causal: bool = False,
    training: bool = False,
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
        training: Whether gradients reach the gates of the keys; differentiating these in evaluation raises an error.
        drop: Function that applies dropout to the attention weights `[batch, heads, queries, keys]`, for training;
            None for no dropout. Computed in plain JAX, since the fused kernels have no dropout.
        kernel: The kernel. Plain JAX in training keeps the scores for the backward pass on CPUs, and computes them
            anew on other devices, where memory is what limits a batch.

    Returns:
        The weighted means of the values, laid out like `query`.

    Raises:
        ConfigError: The kernel does not support the data type or head width, or gates are differentiated in
            evaluation.
        ValueError: `causal` is set together with `source`, or `drop` without `training`.
    """
    if causal and source is not None:
        raise ValueError("tokens are in causal order among themselves, not with a source")
    if drop is not None and not training:
        raise ValueError("dropout is for training; set training=True, or leave out drop")
    keys = tokens if source is None else source
    if isinstance(tokens, Padded) and tokens.shape[0] != keys.shape[0]:
        shared = tokens.regroup(keys.shape[0])
        together = query.reshape(*shared.shape, *query.shape[2:])
        mixed = attend(
            shared,
            together,
            key,
            value,
            source=keys,
            head_gate=head_gate,
            training=training,
            drop=drop,
            kernel=kernel,
        )
        return mixed.reshape(query.shape)
    if not training:
        keys = dataclasses.replace(cast(Any, keys), gate=_untrained(keys.gate))
    kernel = _suited(query) if kernel == "auto" else kernel
    if kernel == "splash" and not training and not causal and isinstance(tokens, Packed) and isinstance(keys, Packed):
        mixed = mix_flash(tokens, keys, query, key, value)
    elif kernel in FUSED and not causal and drop is None:
        mixed = _mix_by_row(functools.partial(mix_apart, FUSED[kernel]), tokens, keys, query, key, value)
    elif training:
        plain = functools.partial(mix_gated, drop=drop, causal=causal)
        mixed = _mix_by_row(plain if _platform() == "cpu" else jax.checkpoint(plain), tokens, keys, query, key, value)
    elif not causal and isinstance(tokens, Packed) and isinstance(keys, Packed) and suits_ragged(tokens, keys, query):
        mixed = mix_ragged(tokens, keys, query, key, value)
    else:
        mixed = mix_rows(tokens, keys, query, key, value, causal=causal)
    if head_gate is not None:
        mixed = mixed * tokens.spread(head_gate)[..., None].astype(mixed.dtype)
    return mixed


def _mix_by_row(mix: RowKernel, tokens: Tokens, keys: Tokens, query: Array, key: Array, value: Array) -> Array:
    """Lays queries, keys and values out by row, and reverses that for the means; arguments as those of `attend`."""
    return tokens.unrow(mix(tokens.rows(query), keys.rows(key), keys.rows(value), keys.row_gate))


def mix_apart(
    kernel: RowKernel,
    query: Float[Array, "batch queries heads head_width"],
    key: Float[Array, "batch keys heads head_width"],
    value: Float[Array, "batch keys heads head_width"],
    gate: Float[Array, "batch keys"],
) -> Float[Array, "batch queries heads head_width"]:
    """Lets each device of the mesh (`jax.set_mesh`) run a kernel on its own examples and heads.

    XLA cannot split a kernel that it did not write. Examples or heads that do not split into equal parts are
    computed by all devices alike.

    Args:
        kernel: The kernel.
        query: `[batch, queries, heads, head_width]`.
        key: `[batch, keys, heads, head_width]`.
        value: `[batch, keys, heads, head_width]`.
        gate: `[batch, keys]`, 1 for open keys, 0 for closed ones.

    Returns:
        The weighted means of the values, `[batch, queries, heads, head_width]`.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or mesh.manual_axes or not set(AXES) <= set(mesh.axis_names):
        return kernel(query, key, value, gate)
    examples = EXAMPLE_AXES if gate.shape[0] % math.prod(mesh.shape[axis] for axis in EXAMPLE_AXES) == 0 else None
    heads = "tensor" if query.shape[2] % mesh.shape["tensor"] == 0 else None
    rows = PartitionSpec(examples, None, heads)
    inputs = (rows, rows, rows, PartitionSpec(examples))
    mixed: Array = jax.shard_map(kernel, in_specs=inputs, out_specs=rows, check_vma=False)(query, key, value, gate)
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
        "attention in evaluation gives the gates of its keys no gradient; pass a training key to the model, or "
        "training=True to attend"
    )


def _suited(query: Array) -> Kernel:
    """Chooses the kernel for the device: splash on TPUs, cuDNN on NVIDIA GPUs if it suits, else "xla"."""
    platform = _platform()
    if platform == "tpu":
        return "splash"
    is_nvidia = platform == "gpu" and "cuda" in jax.devices()[0].client.platform_version
    return "cudnn" if is_nvidia and suits_cudnn(query) else "xla"


def _platform() -> str:
    """The kind of device that computes: that of the mesh (`jax.set_mesh`), else that of this process."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform
