"""Text generation by BLIP's decoders: answers to questions, and captions of images.

The trimmers of a decoder look only at its first token and at what it reads. So all their decisions are known before
the first word is generated, and are computed by reading one position.

Beams are searched as in the official code, with transformers 4.15, unless `GenerationConfig.classic` is False.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.generation import GenerationConfig, generate
from smarttrim_jax.generation.decoding import Generated
from smarttrim_jax.models.base import Output
from smarttrim_jax.models.blip import BlipCaption, BlipVqa
from smarttrim_jax.models.blip.text import TextDecoder
from smarttrim_jax.nn.decoding import CachedDecoder
from smarttrim_jax.tokens import Padded, Tokens
from smarttrim_jax.trimming.gates import GateKey, Gates, Trim

DECODER = GateKey("decoder", "target")


def write_answers(
    model: BlipVqa,
    encoded: Output,
    start_id: int,
    config: GenerationConfig,
    *,
    trim: Trim | None = None,
    keys: jax.Array | None = None,
    reads_padding: bool = True,
) -> Generated:
    """Generates an answer to each question; call it inside `jax.jit`.

    Args:
        model: The model with its parameters (`Functional.bind`).
        encoded: The encoded questions, the output of a call of the model.
        start_id: Id of [DEC].
        config: Settings of the generation; the official ones have 3 beams and a `max_length` of 10.
        trim: How the decoder's trimmers decide; None runs at full capacity.
        keys: Random keys of sampling, one for each example.
        reads_padding: Whether the decoder reads the padding of questions like words, as the official code does when
            it generates, though neither in training nor in ranking.

    Returns:
        The answers and their scores.

    Raises:
        ConfigError: Padding is to be read, but was removed from memory by packed execution.
    """
    source: Tokens = encoded.state["text"]
    if reads_padding:
        if not isinstance(source, Padded):
            raise ConfigError("packed questions have no padding to read; pass reads_padding=False")
        source = Padded(source.values, source.gate + 1 - encoded.record.present[GateKey("fusion", "text")])
    prompt = jnp.full((source.shape[0], 1), start_id)
    gates = None
    if trim is not None:
        start = prompt[:, None]
        gates = model.decode(encoded, start, jnp.ones_like(start), trim=trim).record.gates[DECODER]
    return _write(model.decoder, source, None, gates, prompt, config, keys)


def write_captions(
    model: BlipCaption,
    images: Float[Array, "batch *images height width 3"],
    prompt: Int[Array, "batch tokens"],
    config: GenerationConfig,
    *,
    trim: Trim | None = None,
    keys: jax.Array | None = None,
) -> Generated:
    """Generates a caption of each image; call it inside `jax.jit`.

    Args:
        model: The model with its parameters (`Functional.bind`).
        images: Normalised images, `[batch, height, width, 3]`.
        prompt: Token ids that each caption begins with, `[batch, tokens]`: [DEC], then "a picture of" in the official
            code.
        config: Settings of the generation; the official ones have 3 beams, a `min_length` of 5 and a `max_length` of
            20.
        trim: How the trimmers decide; None runs at full capacity.
        keys: Random keys of sampling, one for each example.

    Returns:
        The captions and their scores.
    """
    start = prompt[:, :1]
    output = model(images, start, jnp.ones_like(start), trim=trim)
    gates = None if trim is None else output.record.gates
    return _write(
        model.decoder,
        output.state["image"],
        None if gates is None else gates[GateKey("decoder", "image")].tokens,
        None if gates is None else gates[DECODER],
        prompt,
        config,
        keys,
    )


def _write(
    decoder: TextDecoder,
    source: Tokens,
    source_gate: Float[Array, "layers batch tokens"] | None,
    gates: Gates | None,
    prompt: Int[Array, "batch prompt"],
    config: GenerationConfig,
    keys: jax.Array | None,
) -> Generated:
    """Generates texts with a decoder whose gates are known; None stands for open gates."""
    cached = CachedDecoder(
        decoder,
        decoder.layers,
        decoder.logits,
        source=source,
        source_gate=source_gate,
        head_gate=None if gates is None else gates.heads,
        cross_head_gate=None if gates is None else gates.cross_heads,
    )
    if config.classic is None:
        config = dataclasses.replace(config, classic=True)
    return generate(cached.step, cached.start(len(prompt), config.max_length), prompt, config, keys)
