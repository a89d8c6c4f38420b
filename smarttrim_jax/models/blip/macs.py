"""BLIP's multiply-adds (MACs), as a function of what is kept."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.models.blip.config import IMAGE_SIDES, BlipConfig
from smarttrim_jax.models.blip.readers import Reader, readers
from smarttrim_jax.trimming.gates import GateKey, Gates, TrimRecord
from smarttrim_jax.trimming.macs import LayerShape, attention_macs, layer_macs, open_tokens
from smarttrim_jax.trimming.policies import SideShape

Rows = Float[Array, " rows"]


def blip_macs(config: BlipConfig, record: TrimRecord, *, trimmed: bool = True) -> Float[Array, " batch"]:
    """Counts the MACs of each example, differentiable in the gates; padding of texts is not counted.

    Args:
        config: Configuration of the model.
        record: The gates of a forward pass; `record.opened()` for the same inputs at full capacity. A record of a
            part of the model alone (an image, a text, or answers) counts that part alone.
        trimmed: Whether to count the trimmers, which a full-capacity pass does not run.

    Returns:
        MACs of each example, `[batch]`, all its images, texts and answers together.
    """
    parts = []
    for side in ("image", "text"):
        if GateKey(side, side) in record.gates:
            parts += _encoder(config, side, record, trimmed)
    for reader in readers(config).values():
        if reader.key(reader.own) in record.gates:
            parts += _reader(config, reader, record, trimmed)
    examples = min(part.shape[0] for part in parts)
    total = jnp.sum(jnp.stack([part.reshape(examples, -1).sum(axis=1) for part in parts]), axis=0)
    return total + _heads(config, record)


def _encoder(config: BlipConfig, side: str, record: TrimRecord, trimmed: bool) -> list[Rows]:
    """MACs per row of an encoder's layers, patch embedding and trimmers, as a list of parts."""
    sizes = config.vision if side == "image" else config.text
    shape = LayerShape(sizes.width, sizes.heads, sizes.mlp_width)
    key = GateKey(side, side)
    gates = record.gates[key]
    present = record.present[key]
    parts = [jnp.sum(layer_macs(gates, shape), axis=0)]
    if side == "image":
        patches = jnp.sum(present, axis=-1) - 1
        parts.append(patches * 3 * config.vision.patch_size**2 * config.vision.width)
    if trimmed and config.trimming is not None:
        where = config.trimming.image if side == "image" else config.trimming.text
        parts.append(config.trimming.policy.macs(gates, present, SideShape(sizes.width, sizes.heads), where))
    return parts


def _reader(config: BlipConfig, reader: Reader, record: TrimRecord, trimmed: bool) -> list[Rows]:
    """MACs per row of a reader's layers, its language head and its trimmers, as a list of parts."""
    text, own = config.text, record.gates[reader.key(reader.own)]
    shape, queries = LayerShape(text.width, text.heads, text.mlp_width), open_tokens(own)
    layers = layer_macs(own, shape)
    heads = [gate for part, gate in own.modules.items() if part != "heads"]
    for side, opened in zip(reader.sources, heads, strict=True):
        keys = open_tokens(record.gates[reader.key(side)])
        layers += attention_macs(queries, keys, jnp.sum(opened, axis=-1), shape, config.width(side))
    if reader.name == "merge":
        layers += queries * 2 * text.width**2
    parts = [jnp.sum(layers, axis=0)]
    if reader.own == "target":
        parts.append(queries[-1] * text.width * (text.width + text.vocab_size))
    if trimmed and config.trimming is not None:
        for side in reader.sides:
            gates = record.gates[reader.key(side)]
            entering = _entering(reader, side, record)
            shape_of_side = reader.shape(config, side)
            parts.append(config.trimming.policy.macs(gates, entering, shape_of_side, reader.trimming(side)))
    return parts


def _entering(reader: Reader, side: str, record: TrimRecord) -> Float[Array, "rows tokens"]:
    """The token gates at the start of a run: those at the end of the run before, if recorded, else of padding."""
    gates = record.gates

    def last(before: Gates) -> Array:
        return before.tokens[-1]

    if reader.name == "merge":
        return last(gates[GateKey("fusion", side)])
    encoder = GateKey("image", "image")
    if side in IMAGE_SIDES and encoder in gates:
        # The images of an example are consecutive rows of one side in the encoder, and sides of their own here.
        return last(gates[encoder])[reader.sources.index(side) :: len(reader.sources)]
    return record.present[reader.key(side)]


def _heads(config: BlipConfig, record: TrimRecord) -> int:
    """MACs of the task's head and of retrieval's features, as far as the record holds the layers that they read."""
    width, total = config.text.width, 0
    if config.task == "nlvr2" and GateKey("fusion", "text") in record.gates:
        total += width * width + 2 * width
    if config.task == "retrieval" and GateKey("fusion", "text") in record.gates:
        total += 2 * width
    if GateKey("text", "text") in record.gates:
        total += (config.vision.width + width) * config.features
    return total
