"""What backbones share: the policies of a run, the layers of an encoder as a stage, and the embedding of images."""

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
    """The policies of one side of a run, stacked over the layers that trim.

    Args:
        side: The side's sizes.
        depth: Layers of the run.
        where: What is trimmed.
        trimming: What decides.
        rngs: Random numbers of the initial weights.

    Returns:
        The stacked module, or None if nothing is trimmed there.
    """
    depth -= where.first_layer
    if depth <= 0 or not (where.tokens or (where.heads and side.heads)):
        return None
    return stack(lambda rngs: trimming.policy.build(side, where, rngs=rngs), depth, rngs)


def existing(policies: Mapping[GateKey, nnx.Module | None]) -> dict[str, nnx.Module]:
    """The policies that there are, by the name of their gates."""
    return {key.name: module for key, module in policies.items() if module is not None}


def policies_of(trimmers: Mapping[str, Any], run: str, sides: Sequence[str]) -> dict[str, Any]:
    """The policies of one run, by side.

    Args:
        trimmers: The policies of the whole model, by the name of their gates.
        run: The run's name.
        sides: The run's sides.
    """
    return {side: trimmers[key.name] for side in sides if (key := GateKey(run, side)).name in trimmers}


def _encoder_layer(
    side: str, layers: dict[str, Any], state: State, gates: GatesByKey, key: jax.Array | None, **inputs: Array
) -> State:
    """One layer of an image or text encoder, with the gates it decided on; `inputs` are what else it takes."""
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
    """The layers of an image or text encoder as a stage.

    Args:
        side: The side of the state, which is the run's name too.
        encoder: The encoder whose layers these are.
        trimmers: The policies of the whole model, by the name of their gates.
        where: What is trimmed.
        scan: As in `LayerRun`.
        remat: As in `LayerRun`.

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
    """The first tokens of all images, each in a row of its own, those of an example one after the other.

    Args:
        encoder: of the images.
        images: normalised, with or without the axis of an example's images.
        count: of images that an example has.

    Raises:
        ConfigError: another number of images; as `check_images`; parameters laid out over an Explicit mesh.
        DataError: as `check_images`.
    """
    check_images(images)
    for weight in jax.tree.leaves(nnx.state(encoder)):
        check_layout("parameters", weight)
    if images.ndim == 4:
        images = images[:, None]
    if images.shape[1] != count:
        raise ConfigError(f"{images.shape[1]} images per example, but the model takes {count}")
    return encoder.embed(images.reshape(-1, *images.shape[2:]))
