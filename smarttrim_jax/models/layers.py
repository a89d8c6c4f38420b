"""Parts that all backbones share: stacked policies, an encoder's layers as a stage, and the embedding of images."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.models.segments import LayerRun, RunSide, State
from smarttrim_jax.nn.inputs import check_images, check_layout
from smarttrim_jax.nn.layer_stack import Remat, stack
from smarttrim_jax.nn.text import TextTransformer
from smarttrim_jax.nn.vision import VisionTransformer
from smarttrim_jax.tokens import Padded
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import GateKey, GatesByKey
from smarttrim_jax.trimming.policies import RunTrimming, SideShape


def stack_policies(
    side: SideShape, depth: int, where: RunTrimming, trimming: TrimmingConfig, rngs: nnx.Rngs
) -> nnx.Module | None:
    """Builds the policies of one side of a run, stacked over the layers that trim.

    Args:
        side: The side's sizes.
        depth: Number of layers of the run.
        where: What is trimmed, and from which layer on.
        trimming: Holds the configuration of the policy.
        rngs: Random numbers of the initial weights.

    Returns:
        The stacked module, or None if nothing is trimmed there.
    """
    depth -= where.first_layer
    if depth <= 0 or not (where.tokens or (where.heads and side.heads)):
        return None
    return stack(lambda rngs: trimming.policy.build(side, where, rngs=rngs), depth, rngs)


def existing(policies: Mapping[GateKey, nnx.Module | None]) -> dict[str, nnx.Module]:
    """Drops the entries that are None.

    Args:
        policies: The stacked policies by the key of their gates; None where nothing is trimmed.

    Returns:
        The other policies, by the name of their gates.
    """
    return {key.name: module for key, module in policies.items() if module is not None}


def policies_of(trimmers: Mapping[str, Any], run: str, sides: Sequence[str]) -> dict[str, Any]:
    """Selects the policies of one run.

    Args:
        trimmers: The policies of the whole model, by the name of their gates.
        run: Name of the run.
        sides: Names of the run's sides.

    Returns:
        The policies by side; sides without one are left out.
    """
    return {side: trimmers[key.name] for side in sides if (key := GateKey(run, side)).name in trimmers}


def _encoder_layer(
    side: str, layers: dict[str, Any], state: State, gates: GatesByKey, key: jax.Array | None, **inputs: Array
) -> State:
    """Computes one layer of an image or text encoder with its gates; `inputs` are further arguments of the layer."""
    gate = gates[GateKey(side, side)].heads
    return state | {side: layers[side](tokens=state[side], head_gate=gate, key=key, **inputs)}


def encoder_run(
    side: str,
    encoder: VisionTransformer | TextTransformer,
    trimmers: Mapping[str, Any],
    where: RunTrimming,
    *,
    scan: bool,
    remat: Remat,
) -> LayerRun:
    """Makes a stage of the layers of an image or text encoder.

    Args:
        side: Name of the side of the state, which is also the name of the run.
        encoder: The encoder that has the layers.
        trimmers: The policies of the whole model, by the name of their gates.
        where: What is trimmed, and from which layer on.
        scan: Whether to run the layers by `lax.scan`.
        remat: What the backward pass recomputes.

    Returns:
        The stage.
    """
    return LayerRun(
        side,
        (RunSide(side, encoder.config.heads),),
        functools.partial(_encoder_layer, side),
        {side: encoder.layers},
        policies_of(trimmers, side, (side,)),
        depth=encoder.config.depth,
        first_layer=where.first_layer,
        inputs=encoder.layer_inputs() if isinstance(encoder, VisionTransformer) else {},
        scan=scan,
        remat=remat,
    )


def embed_images(
    encoder: VisionTransformer, images: Float[Array, "batch *images height width 3"], count: int
) -> Padded:
    """Embeds the images of a batch; each image becomes a row of its own, and those of an example are consecutive.

    Args:
        encoder: The image encoder.
        images: Normalised images, `[batch, height, width, 3]` or `[batch, images, height, width, 3]`.
        count: Images per example that the model takes.

    Returns:
        The tokens before the first layer, `batch * count` rows.

    Raises:
        ConfigError: Examples have another number of images, images have another shape (see `check_images`), or images
            or parameters are sharded over an Explicit mesh axis.
        DataError: Images hold integers; see `check_images`.
    """
    check_images(images)
    for weight in jax.tree.leaves(nnx.state(encoder)):
        check_layout("parameters", weight)
    if images.ndim == 4:
        images = images[:, None]
    if images.shape[1] != count:
        raise ConfigError(f"{images.shape[1]} images per example, but the model takes {count}")
    return encoder.embed(images.reshape(-1, *images.shape[2:]))
