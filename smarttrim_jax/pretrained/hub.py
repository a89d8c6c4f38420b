"""Hugging Face's config.json: what it tells of a model beside its weights, and how one is written for a BLIP."""

import pathlib
from collections.abc import Mapping
from typing import Any, Literal

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.json_text import parse_json
from smarttrim_jax.models.blip import BlipConfig
from smarttrim_jax.nn.layers import ACTIVATIONS
from smarttrim_jax.pretrained.files import Path

Side = Literal["image", "text"]
Hub = Mapping[str, Any]
"""The content of a config.json; empty if there is none."""

# Names in a config.json, and the fields of our configurations that they set.
FIELDS: dict[Side, dict[str, str]] = {
    "image": {"num_attention_heads": "heads", "layer_norm_eps": "epsilon", "hidden_act": "activation"},
    "text": {
        "num_attention_heads": "heads",
        "layer_norm_eps": "epsilon",
        "pad_token_id": "pad_id",
        "hidden_dropout_prob": "dropout",
    },
}
WHOLE, NUMBERS = (int,), (int, float)
# Defaults of transformers' BLIP, which a config.json may leave out.
BLIP_DEFAULTS: dict[Side, dict[str, Any]] = {
    "image": {"num_attention_heads": 12, "layer_norm_eps": 1e-5},
    "text": {"num_attention_heads": 8, "layer_norm_eps": 1e-12, "pad_token_id": 0, "hidden_dropout_prob": 0.0},
}
BLIP_MODELS = {
    "vqa": "BlipForQuestionAnswering",
    "caption": "BlipForConditionalGeneration",
    "retrieval": "BlipForImageTextRetrieval",
}


def config_path(weights: Path) -> pathlib.Path:
    """Returns the path of the config.json beside a weight file.

    Args:
        weights: Path of the weight file.

    Returns:
        The path, whether or not the file exists.
    """
    return pathlib.Path(weights).expanduser().with_name("config.json")


def read_hub(weights: Path) -> Hub:
    """Reads the config.json beside a weight file.

    Args:
        weights: Path of the weight file.

    Returns:
        Its content; empty if there is none.

    Raises:
        CheckpointError: The config.json is damaged.
    """
    beside = config_path(weights)
    if not beside.is_file():
        return {}
    try:
        content = parse_json(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"'{beside}' is damaged ({error}); fetch it again or remove it") from None
    if not isinstance(content, dict):
        raise CheckpointError(
            f"'{beside}' is no configuration, but {type(content).__name__}; fetch it again or remove it"
        )
    return content


def traits(side: Side, section: Hub) -> dict[str, Any]:
    """Reads the fields of an encoder from a config.json.

    Args:
        side: The side of the encoder.
        section: The content of the config.json, or its section for the encoder.

    Returns:
        Values by the names of fields of `VisionConfig` or `TextConfig`; missing ones are left out.

    Raises:
        CheckpointError: The encoder has a variation that ours does not have, or a value is out of range.
    """
    if not isinstance(section, Mapping):
        raise CheckpointError(
            f"config.json describes the {side} encoder by {section!r}, not by fields; fetch it again"
        )
    activation, positions = section.get("hidden_act", "gelu"), section.get("position_embedding_type", "absolute")
    known = list(ACTIVATIONS) if side == "image" else ["gelu"]
    if activation not in known:
        raise CheckpointError(f"config.json says hidden_act '{activation}'; only {', '.join(known)} can be computed")
    if positions != "absolute":
        raise CheckpointError(
            f"config.json says position_embedding_type '{positions}'; only absolute can be computed"
        )
    told = {name: section[name] for name in FIELDS[side] if section.get(name) is not None}
    for name, value in told.items():
        kind = WHOLE if name in ("num_attention_heads", "pad_token_id") else NUMBERS
        if name != "hidden_act" and not (
            isinstance(value, kind) and not isinstance(value, bool) and 0 <= value < 2**31
        ):
            raise CheckpointError(f"config.json says {name} {value!r}, which is no number in range; fetch it again")
    return {FIELDS[side][name]: value for name, value in told.items()}


def is_blip(hub: Hub) -> bool:
    """Tells whether a config.json describes a BLIP of transformers.

    Args:
        hub: The content of the config.json.

    Returns:
        Whether its `model_type` is "blip".
    """
    return hub.get("model_type") == "blip"


def blip_traits(hub: Hub) -> dict[str, dict[str, Any]]:
    """Reads the fields of both encoders from a BLIP's config.json.

    Args:
        hub: The content of the config.json.

    Returns:
        Fields of the parts "vision" and "text", with transformers' defaults; empty for another model's config.json.

    Raises:
        CheckpointError: An encoder has a variation that ours does not have, or a value is out of range.
    """
    if not is_blip(hub):
        return {}
    sections: dict[str, Side] = {"vision": "image", "text": "text"}
    found = {part: hub.get(f"{part}_config") or {} for part in sections}
    for part, section in found.items():
        if isinstance(section, dict):
            found[part] = BLIP_DEFAULTS[sections[part]] | section
    return {part: traits(side, found[part]) for part, side in sections.items()}


def blip_hub(config: BlipConfig) -> dict[str, Any]:
    """Makes the config.json from which transformers builds a BLIP.

    The ids of special tokens are left at transformers' defaults, which are those of BLIP's own vocabulary.

    Args:
        config: Configuration of the model.

    Returns:
        The content of the config.json.
    """
    vision, text = config.vision, config.text
    return {
        "model_type": "blip",
        "architectures": [BLIP_MODELS[config.task]],
        "image_text_hidden_size": config.features,
        "vision_config": {
            "image_size": (vision.position_grid * vision.patch_size) or vision.image_size,
            "patch_size": vision.patch_size,
            **_sizes(vision),
            "hidden_act": vision.activation,
        },
        "text_config": {
            "vocab_size": text.vocab_size,
            "max_position_embeddings": text.max_positions,
            **_sizes(text),
            "encoder_hidden_size": vision.width,
            "pad_token_id": text.pad_id,
            "hidden_dropout_prob": text.dropout,
            "attention_probs_dropout_prob": text.dropout,
        },
    }


def _sizes(part: Any) -> dict[str, Any]:
    """The sizes of an encoder by transformers' names."""
    return {
        "hidden_size": part.width,
        "num_hidden_layers": part.depth,
        "num_attention_heads": part.heads,
        "intermediate_size": part.mlp_width,
        "layer_norm_eps": part.epsilon,
    }
