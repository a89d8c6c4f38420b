"""BLIP's multiply-adds, as a function of what is kept."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.models.blip.config import BlipConfig
from smarttrim_jax.models.blip.readers import Reader, readers
from smarttrim_jax.trimming.gates import Gates, TrimRecord
from smarttrim_jax.trimming.macs import LayerShape, attention_macs, layer_macs, open_tokens, trimmer_macs

Rows = Float[Array, " rows"]


def blip_macs(config: BlipConfig, record: TrimRecord, *, trimmed: bool = True) -> Float[Array, " batch"]:
    """MACs of every example, differentiable in the gates; for texts as long as they are, without padding.

    Args:
        config: of the model.
        record: of a forward pass; `record.opened()` for the same inputs at full capacity. It may be of a part of the
            model alone (an image, a text, answers), which then counts alone.
        trimmed: count the trimmers, which a full-capacity pass does not run.

    Returns:
        MACs per example, all its images, texts and answers together.
    """
    parts = []
    for side in ("image", "text"):
        if side in record.gates:
            parts += _encoder(config, side, record, trimmed)
    for reader in readers(config).values():
        if reader.own_gates in record.gates:
            parts += _reader(config, reader, record, trimmed)
    examples = min(part.shape[0] for part in parts)
    total = jnp.sum(jnp.stack([part.reshape(examples, -1).sum(axis=1) for part in parts]), axis=0)
    return total + _heads(config, record)


def _encoder(config: BlipConfig, side: str, record: TrimRecord, trimmed: bool) -> list[Rows]:
    sizes = config.vision if side == "image" else config.text
    shape, gates, present = LayerShape(sizes.width, sizes.heads, sizes.mlp_width), record.gates[side], record.present
    parts = [jnp.sum(layer_macs(gates, shape), axis=0)]
    if side == "image":
        patches = jnp.sum(present[side], axis=-1) - 1
        parts.append(patches * 3 * config.vision.patch_size**2 * config.vision.width)
    if trimmed and config.trimming is not None:
        where = config.trimming.image if side == "image" else config.trimming.text
        parts.append(trimmer_macs(gates, present[side], shape, config.trimming.trimmers, where))
    return parts


def _reader(config: BlipConfig, reader: Reader, record: TrimRecord, trimmed: bool) -> list[Rows]:
    text, own = config.text, record.gates[reader.own_gates]
    shape, queries = LayerShape(text.width, text.heads, text.mlp_width), open_tokens(own)
    layers = layer_macs(own, shape)
    heads = [gate for part, gate in own.modules.items() if part != "heads"]
    for side, opened in zip(reader.sources, heads, strict=True):
        keys = open_tokens(record.gates[reader.gates(side)])
        layers += attention_macs(queries, keys, jnp.sum(opened, axis=-1), shape, config.width(side))
    if reader.name == "merge":
        layers += queries * 2 * text.width**2
    parts = [jnp.sum(layers, axis=0)]
    if reader.own == "target":
        parts.append(queries[-1] * text.width * (text.width + text.vocab_size))
    if trimmed and config.trimming is not None:
        for side in reader.sides:
            others = tuple(config.width(other) for other in reader.others(side))
            sizes = LayerShape(config.width(side), text.heads, text.mlp_width)
            gates, entering = record.gates[reader.gates(side)], _entering(reader, side, record)
            parts.append(
                trimmer_macs(gates, entering, sizes, config.trimming.trimmers, reader.trimming(side), others)
            )
    return parts


def _entering(reader: Reader, side: str, record: TrimRecord) -> Float[Array, "rows tokens"]:
    """The token gates that a run starts from: where the run before left off, if the record has it."""
    gates = record.gates

    def last(before: Gates) -> Array:
        return before.tokens[-1]

    if reader.name == "merge":
        return last(gates[f"fusion_{side}"])
    if side.startswith("image") and "image" in gates:
        image, index = last(gates["image"]), side.removeprefix("image")
        return image[int(index) :: len(reader.sources)] if index else image
    return record.present[reader.gates(side)]


def _heads(config: BlipConfig, record: TrimRecord) -> int:
    """The task's head, where the record has what it reads; retrieval's features where texts were encoded alone."""
    width, total = config.text.width, 0
    if config.task == "nlvr2" and "fusion_text" in record.gates:
        total += width * width + 2 * width
    if config.task == "retrieval" and "fusion_text" in record.gates:
        total += 2 * width
    if "text" in record.gates:
        total += (config.vision.width + width) * config.features
    return total
