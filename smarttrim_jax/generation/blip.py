"""What BLIP's decoders write: answers to questions, captions of images.

The trimmers of a decoder look at its first word and at what it reads, so that all they decide is known before the
first word is written: one position is read for it.

Beams are searched as the official code does, with transformers 4.15 (`GenerationConfig.classic`, unless it says no).
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
    """An answer to every question; call it inside of `jax.jit`.

    Args:
        model: with its parameters (`Functional.bind`).
        encoded: the questions, as a call of the model returns them.
        start_id: of [DEC].
        config: of the generation; the official one has 3 beams and a `max_length` of 10.
        trim: how the decoder's trimmers decide; None runs at full capacity.
        keys: of sampling, one for every example.
        reads_padding: whether decoders read the padding of questions as if it were words, as the official code does
            when it generates, though neither in training nor in ranking.

    Raises:
        ConfigError: padding that shall be read, but has left memory.
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
    images: Float[Array, "batch height width 3"],
    prompt: Int[Array, "batch tokens"],
    config: GenerationConfig,
    *,
    trim: Trim | None = None,
    keys: jax.Array | None = None,
) -> Generated:
    """A caption of every image; call it inside of `jax.jit`.

    Args:
        model: with its parameters (`Functional.bind`).
        images: normalised.
        prompt: what every caption begins with: [DEC], then "a picture of" in the official code.
        config: of the generation; the official one has 3 beams, a `min_length` of 5 and a `max_length` of 20.
        trim: how the trimmers decide; None runs at full capacity.
        keys: of sampling, one for every example.
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
    prompt: Int[Array, "batch tokens"],
    config: GenerationConfig,
    keys: jax.Array | None,
) -> Generated:
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
