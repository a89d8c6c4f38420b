"""Reads METER's image or text encoder from the weights of CLIP, DINOv2, BERT or RoBERTa."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from smarttrim_jax.errors import CheckpointError, ConfigError
from smarttrim_jax.models.functional import Params
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.nn.positions import resize_positions
from smarttrim_jax.nn.text import TextConfig, TextTransformer
from smarttrim_jax.nn.vision import VisionConfig, VisionTransformer
from smarttrim_jax.pretrained.encoder_tables import FAMILIES, Family
from smarttrim_jax.pretrained.files import Path, read_weights
from smarttrim_jax.pretrained.hub import Hub, read_hub, traits
from smarttrim_jax.pretrained.sizes import default_heads, depth_of, grid_side, shape_of
from smarttrim_jax.pretrained.weight_table import as_float32
from smarttrim_jax.pretrained.wrapping import unwrapped
from smarttrim_jax.tree_paths import flat_dict, nested_dict

Source = Path | Mapping[str, Any]
EncoderConfig = VisionConfig | TextConfig

# Fields that the model's configuration may set freely, whatever the weights come from.
FREE = ("image_size", "position_grid", "depth", "drop_path", "dropout")


def load_encoder(
    source: Source, *, family: str | None = None, like: EncoderConfig | None = None, **overrides: Any
) -> tuple[EncoderConfig, Params]:
    """Reads an image or text encoder from its original weights.

    Args:
        source: Path of a weight file (Hugging Face's config.json beside it is read too), or tensors by official name,
            which may carry the prefixes of larger models ("vision_model.", "visual.", "roberta.", ...).
        family: "clip", "openai_clip", "dinov2", "roberta" or "bert"; None recognises it by the names.
        like: The configuration that the weights must fill: layers beyond its depth are left out, and positions are
            resized to its grid. None takes the sizes from the weights, and an `image_size` that fits the position
            table.
        **overrides: Without `like`, fields of `VisionConfig` or `TextConfig` that shapes do not tell, and `depth`
            (METER keeps 11 of CLIP's 12 layers).

    Returns:
        The configuration, and float32 parameters as in `params["image"]` or `params["text"]` of a METER.

    Raises:
        CheckpointError: The weights are of another model, or are missing, unexpected or misshaped; all are listed at
            once.
        ConfigError: An override does not exist or does not fit, or the family is unknown.
    """
    if like is not None and overrides:
        raise ConfigError(f"'{next(iter(overrides))}' cannot be set beside `like`, which sets everything")
    tensors, hub = _open(source)
    name = family or _recognise(tensors, hub)
    if name not in FAMILIES:
        raise ConfigError(f"unknown family '{name}'; known are: {', '.join(FAMILIES)}")
    kind = FAMILIES[name]
    tensors = kind.own(tensors)
    told = _sizes(kind, tensors) | dict(kind.traits) | traits(kind.side, _section(kind, hub))
    config = _choose(kind, told, overrides) if like is None else _check(kind, told, like)
    held = told["depth"]
    if config.depth > held:
        raise CheckpointError(
            f"these {kind.table.family} weights hold {held} layers, not {config.depth}; use depth={held} or less"
        )
    tensors = {name: tensor for name, tensor in tensors.items() if _layer(kind, name) < config.depth}
    if isinstance(config, VisionConfig):
        _resize(kind, tensors, config)
    shapes = {path: leaf.shape for path, leaf in flat_dict({kind.side: _empty(config)}).items()}
    loaded = kind.table.read(tensors, shapes)
    return config, jax.tree.map(jnp.asarray, nested_dict(loaded))[kind.side]


def with_encoders(
    config: MeterConfig, params: Params, *, image: Source | None = None, text: Source | None = None
) -> Params:
    """Fills the encoders of a METER from pretrained weights.

    Args:
        config: Configuration of the METER; its `vision` and `text` must fit the weights (see `load_encoder`).
        params: Parameters of the METER, for example fresh from `Functional(config).init`; not changed.
        image: Weights of the image encoder; None keeps the METER's own.
        text: Weights of the text encoder; None keeps the METER's own.

    Returns:
        The parameters with those of the encoders filled in.

    Raises:
        CheckpointError: The weights do not fill the encoder, or are of the other side.
    """
    wanted: dict[str, tuple[Source | None, EncoderConfig]]
    wanted = {"image": (image, config.vision), "text": (text, config.text)}
    loaded = {
        side: load_encoder(source, like=like)[1] for side, (source, like) in wanted.items() if source is not None
    }
    return params | loaded


def _open(source: Source) -> tuple[dict[str, Any], Hub]:
    """Returns the tensors of a source, and the content of the config.json beside its file."""
    if isinstance(source, Mapping):
        return unwrapped(source), {}
    return read_weights(source), read_hub(source)


def _recognise(tensors: Mapping[str, Any], hub: Mapping[str, Any]) -> str:
    """Finds the name of the family of some weights."""
    found = {name: family for name, family in FAMILIES.items() if family.prefix_in(tensors) is not None}
    if not found:
        first = sorted({str(name).split(".")[0] for name in tensors})
        known = ", ".join(family.table.family for family in FAMILIES.values())
        raise CheckpointError(
            f"these are no weights of an encoder that can be read ({known}); "
            f"found weights of {', '.join(first) or 'nothing'}"
        )
    typed = [name for name, family in found.items() if hub.get("model_type") in family.model_types]
    if typed or len(found) == 1:
        return next(iter(typed or found))
    # Without a prefix, names of BERT and RoBERTa are equal, but only RoBERTa has a single token type.
    types = tensors.get("embeddings.token_type_embeddings.weight", ())
    return "roberta" if np.shape(types)[:1] == (1,) else "bert"


def _sizes(family: Family, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Reads sizes from the shapes of weights."""

    def shape(path: str, axes: int) -> tuple[int, ...]:
        return shape_of(family.table.family, tensors, _official(family, path), axes)

    sizes: dict[str, Any] = {"depth": depth_of(tensors, family.layers)}
    sizes["mlp_width"] = shape_of(family.table.family, tensors, f"{family.layers}.0.{family.up}", 2)[0]
    if family.side == "image":
        sizes["width"], _, sizes["patch_size"], _ = shape("image/patch_embedding/kernel", 4)
        name = _official(family, "image/position_embedding")
        side = grid_side(np.shape(tensors[name])[-2] if name in tensors else 1)
        return sizes | {"image_size": side * sizes["patch_size"]}
    sizes["vocab_size"], sizes["width"] = shape("text/word_embedding/embedding", 2)
    sizes["max_positions"], _ = shape("text/position_embedding/embedding", 2)
    sizes["token_types"], _ = shape("text/type_embedding/embedding", 2)
    return sizes


def _section(family: Family, hub: Hub) -> Hub:
    """The part of a config.json that describes the encoder."""
    return hub.get("vision_config", hub) if family.side == "image" else hub


def _choose(family: Family, told: dict[str, Any], overrides: Mapping[str, Any]) -> EncoderConfig:
    """Makes the configuration from what weights and config.json tell, and from overrides."""
    cls = VisionConfig if family.side == "image" else TextConfig
    by_shape = {"patch_size", "width", "mlp_width", "vocab_size", "max_positions", "token_types"}
    by_name = {"pre_norm", "patch_bias", "layer_scale"}
    accepted = [field.name for field in dataclasses.fields(cls) if field.name not in by_shape | by_name]
    unknown = [name for name in overrides if name not in accepted]
    if unknown:
        raise ConfigError(f"unknown override '{unknown[0]}'; accepted: {', '.join(accepted)}")
    fields = told | dict(overrides)
    if "heads" not in fields:
        fields["heads"] = default_heads(family.side, fields["width"], "heads")
    return cls(**fields)


def _check(family: Family, told: Mapping[str, Any], like: EncoderConfig) -> EncoderConfig:
    """Checks that the weights are of the encoder asked for, and returns its configuration."""
    side = "image" if isinstance(like, VisionConfig) else "text"
    if side != family.side:
        raise CheckpointError(
            f"these {family.table.family} weights are of the {family.side} encoder, not the {side}'s"
        )
    different = {name: value for name, value in told.items() if name not in FREE and getattr(like, name) != value}
    if different:
        listed = "; ".join(f"{name} is {value!r}, not {getattr(like, name)!r}" for name, value in different.items())
        raise CheckpointError(
            f"these {family.table.family} weights are of another encoder than the model's {side}: {listed}; "
            "build the model with the configuration that load_encoder returns"
        )
    return like


def _layer(family: Family, name: str) -> int:
    """The index of the layer that a weight belongs to; -1 for weights outside of layers."""
    match = re.match(rf"{re.escape(family.layers)}\.(\d+)\.", name)
    return int(match[1]) if match else -1


def _resize(family: Family, tensors: dict[str, Any], config: VisionConfig) -> None:
    """Resizes the position table to the model's grid, in place."""
    rule = next(rule for rule in family.table.rules if rule.ours == ("image/position_embedding",))
    if rule.official in tensors:
        side = config.position_grid or config.image_size // config.patch_size
        table = rule.layout.to_ours(as_float32(rule.official, tensors[rule.official]))
        tensors[rule.official] = rule.layout.to_official(
            np.asarray(resize_positions(jnp.asarray(table), (side, side)))
        )


def _official(family: Family, path: str) -> str:
    """The official name of one of our parameters."""
    return next(rule.official for rule in family.table.rules if rule.ours == (path,))


def _empty(config: EncoderConfig) -> Params:
    """The shapes of an encoder's parameters, as a tree."""
    cls: Any = VisionTransformer if isinstance(config, VisionConfig) else TextTransformer
    module = nnx.eval_shape(lambda: cls(config, dtype=jnp.float32, rngs=nnx.Rngs(0)))
    return nnx.to_pure_dict(nnx.split(module)[1])
