"""Greedy search and sampling: one text per example, one token after the other."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.generation.config import GenerationConfig
from smarttrim_jax.generation.decoding import Cache, Generated, Step, begin, length_divisors, read_prompt
from smarttrim_jax.generation.logits import constrain, draw

Choose = Callable[[Float[Array, "rows vocabulary"], Int[Array, ""]], Int[Array, " rows"]]
"""A function that chooses the next tokens from their constrained logits and the number of tokens so far."""


class _Texts(NamedTuple):
    """The state of the loop.

    Attributes:
        length: Number of tokens of each text that has not ended.
        ids: Token ids of the texts.
        log_probability: Log-probability of what follows the prompt.
        generated: Number of tokens that follow the prompt.
        ended: Whether a text has its end token.
        cache: The decoder's cache.
    """

    length: Int[Array, ""]
    ids: Int[Array, "batch max_length"]
    log_probability: Float[Array, " batch"]
    generated: Int[Array, " batch"]
    ended: Bool[Array, " batch"]
    cache: Any


def greedy_search(
    step: Step[Cache], cache: Cache, prompt: Int[Array, "batch prompt"], config: GenerationConfig
) -> Generated:
    """Generates texts by taking the most likely token at each position.

    Args:
        step: Computes one position of the decoder.
        cache: The decoder's cache without any position.
        prompt: Token ids that each text begins with, `[batch, prompt]`; at least one token.
        config: Settings of the generation; those of beams and sampling are not used.

    Returns:
        The texts and their scores.

    Raises:
        ConfigError: The prompt leaves no room for a token, or `eos_id` is not in the vocabulary.
    """
    return _generate(step, cache, prompt, config, lambda logits, length: jnp.argmax(logits, axis=-1))


def sample(
    step: Step[Cache],
    cache: Cache,
    prompt: Int[Array, "batch prompt"],
    config: GenerationConfig,
    keys: jax.Array,
) -> Generated:
    """Generates texts by drawing from the most likely tokens at each position.

    Args:
        step: Computes one position of the decoder.
        cache: The decoder's cache without any position.
        prompt: Token ids that each text begins with, `[batch, prompt]`; at least one token.
        config: Settings of the generation; those of beams are not used.
        keys: Random keys, one for each example; a text depends on its own key alone.

    Returns:
        The texts and their scores.

    Raises:
        ConfigError: There is not one key for each example, the prompt leaves no room for a token, or `eos_id` is not
            in the vocabulary.
    """
    if keys.shape[:1] != prompt.shape[:1]:
        raise ConfigError(f"keys are {list(keys.shape)}, but there must be one for each of {len(prompt)} examples")

    def choose(logits: Array, length: Array) -> Array:
        now = jax.vmap(jax.random.fold_in, (0, None))(keys, length)
        return jax.vmap(draw, (0, 0, None))(logits, now, config)

    return _generate(step, cache, prompt, config, choose)


def _generate(
    step: Step[Cache], cache: Cache, prompt: Int[Array, "batch prompt"], config: GenerationConfig, choose: Choose
) -> Generated:
    """Generates texts, with tokens chosen by the function `choose`."""
    ids, batch = begin(prompt, config), len(prompt)

    def is_running(texts: _Texts) -> Bool[Array, ""]:
        return (texts.length < config.max_length) & ~jnp.all(texts.ended)

    def advance(texts: _Texts) -> _Texts:
        length, ended = texts.length, texts.ended
        logits, cache = step(texts.cache, texts.ids[:, length - 1], length - 1)
        logits = logits.astype(jnp.float32)
        token = choose(constrain(logits, texts.ids, length, config), length)
        gained = jnp.take_along_axis(jax.nn.log_softmax(logits), token[:, None], axis=1)[:, 0]
        return _Texts(
            length + 1,
            texts.ids.at[:, length].set(jnp.where(ended, config.pad_id, token)),
            texts.log_probability + jnp.where(ended, 0.0, gained),
            texts.generated + ~ended,
            ended | (token == config.eos_id),
            cache,
        )

    texts = jax.lax.while_loop(
        is_running,
        advance,
        _Texts(
            jnp.int32(prompt.shape[1]),
            ids,
            jnp.zeros(batch, jnp.float32),
            jnp.zeros(batch, jnp.int32),
            jnp.zeros(batch, bool),
            read_prompt(step, cache, prompt),
        ),
    )
    return Generated(texts.ids, texts.log_probability / length_divisors(config)[texts.generated])
