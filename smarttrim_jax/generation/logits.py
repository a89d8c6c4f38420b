"""Changes of the next token's scores before a token is chosen."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.generation.config import GenerationConfig


def constrain(
    scores: Float[Array, "rows vocabulary"],
    ids: Int[Array, "rows max_length"],
    length: Int[Array, ""],
    config: GenerationConfig,
) -> Float[Array, "rows vocabulary"]:
    """Applies the repetition penalty and the minimum length.

    Args:
        scores: Logits or log-probabilities of the next token, `[rows, vocabulary]`.
        ids: Token ids of the texts so far, `[rows, max_length]`.
        length: Number of tokens so far, a scalar.
        config: Holds the penalty and the minimum length.

    Returns:
        The scores, `[rows, vocabulary]`; minus infinity for an end token that comes too early.

    Raises:
        ConfigError: `eos_id` is not in the vocabulary.
    """
    rows, vocabulary = scores.shape
    if config.eos_id >= vocabulary:
        raise ConfigError(f"eos_id is {config.eos_id}, but the decoder's vocabulary has {vocabulary} tokens")
    if config.repetition_penalty != 1.0:
        so_far = jnp.where(jnp.arange(ids.shape[1]) < length, ids, vocabulary)
        is_repeated = jnp.zeros(scores.shape, bool).at[jnp.arange(rows)[:, None], so_far].set(True, mode="drop")
        penalty = config.repetition_penalty
        penalized = jnp.where(scores < 0, scores * penalty, scores / penalty)
        scores = jnp.where(is_repeated, penalized, scores)
    too_early = (jnp.arange(vocabulary) == config.eos_id) & (length < config.min_length)
    return jnp.where(too_early, -jnp.inf, scores)


def draw(logits: Float[Array, " vocabulary"], key: jax.Array, config: GenerationConfig) -> Int[Array, ""]:
    """Draws a token from the most likely ones (nucleus sampling, Holtzman et al. 2020).

    Args:
        logits: Logits of the next token, `[vocabulary]`.
        key: Random key of the draw.
        config: Holds temperature, `top_k` and `top_p`.

    Returns:
        The token id, a scalar.
    """
    order = jnp.argsort(-logits)
    likely = logits[order] / config.temperature
    if config.top_k:
        likely = jnp.where(jnp.arange(likely.shape[0]) < config.top_k, likely, -jnp.inf)
    if config.top_p < 1.0:
        probability = jax.nn.softmax(likely)
        before = jnp.cumsum(probability) - probability
        is_first = jnp.arange(likely.shape[0]) == 0  # always kept, in spite of rounding errors
        likely = jnp.where(is_first | (before < config.top_p), likely, -jnp.inf)
    return order[jax.random.categorical(key, likely)]
