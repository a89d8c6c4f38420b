"""What one layer of any backbone closes; and the layers of an encoder, which change a single side."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax
from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.models.segments import GatesByRun, Run, State
from smarttrim_jax.nn.folding import Remat, stack
from smarttrim_jax.nn.inputs import check_images, check_layout
from smarttrim_jax.nn.regularization import split_key
from smarttrim_jax.nn.text import TextTransformer
from smarttrim_jax.nn.vision import VisionTransformer
from smarttrim_jax.tokens import Padded, Tokens
from smarttrim_jax.trimming.gates import Gates, Trim, open_gates
from smarttrim_jax.trimming.trimmers import LayerTrimmers, RunTrimming, TrimmerConfig

T = TypeVar("T", bound=Tokens)


def stack_trimmers(
    width: int,
    heads: int,
    depth: int,
    where: RunTrimming,
    config: TrimmerConfig,
    rngs: nnx.Rngs,
    *,
    other_widths: tuple[int, ...] = (),
) -> nnx.Module | None:
    """The trimmers of one side of a run, stacked; None if nothing is trimmed there.

    Args:
        width: of the side's tokens.
        heads: of its attention modules; 0 for a side that is only read.
        depth: layers of the run.
        where: what is trimmed.
        config: the trimmers' shape.
        rngs: for the initial weights.
        other_widths: of the sides that the layers join it with.
    """
    depth -= where.first_layer
    if depth <= 0 or not (where.tokens or (where.heads and heads)):
        return None
    return stack(
        lambda rngs: LayerTrimmers(width, heads, other_widths=other_widths, config=config, trimming=where, rngs=rngs),
        depth,
        rngs,
    )


def existing(trimmers: Mapping[str, nnx.Module | None]) -> dict[str, nnx.Module]:
    """Those that are not None, by the name of their gates."""
    return {name: module for name, module in trimmers.items() if module is not None}


def by_name(modules: nnx.Dict) -> dict[str, Any]:
    """The modules of an `nnx.Dict` by name.

    A module that runs asks here: `nnx.tabulate` replaces `items` and `get`, and leaves a note among the entries.
    """
    return {name: modules[name] for name in modules if isinstance(modules[name], nnx.Module)}


def decide_side(
    trimmers: LayerTrimmers | None,
    tokens: T,
    heads: int,
    trim: Trim,
    key: jax.Array | None,
    *,
    others: Sequence[Array] = (),
) -> tuple[T, Gates]:
    """The gates of one side of a layer; open ones where it has no trimmers.

    Args:
        trimmers: of this layer and side.
        tokens: of the side.
        heads: of its attention modules; 0 for a side that is only read.
        trim: how the trimmers decide.
        key: None for evaluation.
        others: global tokens of the sides that the layer joins it with.
    """
    if trimmers is None:
        return tokens, open_gates(tokens, heads, sources=len(others))
    return trimmers(tokens=tokens, trim=trim, others=others, key=key)


def _encoder_decide(
    side: str,
    heads: int,
    trimmers: LayerTrimmers | None,
    state: State,
    trim: Trim,
    key: jax.Array | None,
) -> tuple[State, GatesByRun]:
    """What one layer of an image or text encoder closes.

    Args:
        side: of the state, and name of the run.
        heads: of its attention.
        trimmers: of this layer, or None.
        state: the model's state.
        trim: how the trimmers decide.
        key: None for evaluation.
    """
    tokens, gates = decide_side(trimmers, state[side], heads, trim, split_key(key, 2)[0])
    return state | {side: tokens}, {side: gates}


def _encoder_layer(
    side: str, layer: Any, state: State, gates: GatesByRun, key: jax.Array | None, **inputs: Array
) -> State:
    """One layer of an image or text encoder, with the gates it decided on; `inputs` are what else it takes."""
    tokens = layer(tokens=state[side], head_gate=gates[side].heads, key=split_key(key, 2)[1], **inputs)
    return state | {side: tokens}


def encoder_run(
    side: str,
    encoder: VisionTransformer | TextTransformer,
    trimmers: Any,
    where: RunTrimming,
    *,
    scan: bool,
    remat: Remat,
) -> Run:
    """The layers of an image or text encoder as a stage.

    Args:
        side: of the state, and name of the run.
        encoder: whose layers these are.
        trimmers: stacked, or None.
        where: what is trimmed.
        scan: as in `Run`.
        remat: as in `Run`.
    """
    return Run(
        side,
        (side,),
        functools.partial(_encoder_decide, side, encoder.config.heads),
        functools.partial(_encoder_layer, side),
        encoder.layers,
        trimmers,
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
