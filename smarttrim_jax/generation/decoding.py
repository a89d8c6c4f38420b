"""What all kinds of generation share: the decoder's interface, the prompt and the result."""

import dataclasses
from typing import Protocol, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.generation.config import GenerationConfig

Cache = TypeVar("Cache")


class Step(Protocol[Cache]):
    """A function that computes one position of a decoder."""

    def __call__(
        self, cache: Cache, ids: Int[Array, " rows"], position: Int[Array, ""]
    ) -> tuple[Float[Array, "rows vocabulary"], Cache]:
        """Computes the logits of the token after a position.

        Args:
            cache: Cache of the positions before: a tree of arrays, each with a leading axis of rows.
            ids: Token ids at `position`, `[rows]`.
            position: Index of the position, counted from 0 and equal for all rows.

        Returns:
            The logits, `[rows, vocabulary]`, and the cache with `position` added.
        """


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Generated:
    """Generated texts.

    Attributes:
        ids: Token ids with the prompt and, where a text ended in time, its end token; padding follows.
        scores: Log-probability of what follows the prompt, divided by its length to the power `length_penalty`.
            Greedy search and sampling take the model's own probabilities, beam search those after the repetition
            penalty.
    """

    ids: Int[Array, "batch max_length"]
    scores: Float[Array, " batch"]


def read_prompt(step: Step[Cache], cache: Cache, prompt: Int[Array, "batch prompt"]) -> Cache:
    """Runs the decoder over the prompt except its last token, whose logits are the first ones needed.

    Args:
        step: Computes one position of the decoder.
        cache: The decoder's cache without any position.
        prompt: Token ids, `[batch, prompt]`.

    Returns:
        The cache with these positions.
    """

    def advance(position: Int[Array, ""], cache: Cache) -> Cache:
        return step(cache, prompt[:, position], position)[1]

    return jax.lax.fori_loop(0, prompt.shape[1] - 1, advance, cache) if prompt.shape[1] > 1 else cache


def begin(prompt: Int[Array, "batch prompt"], config: GenerationConfig) -> Int[Array, "batch max_length"]:
    """Places the prompt at the beginning of rows of the final length.

    Args:
        prompt: Token ids, `[batch, prompt]`.
        config: Holds the final length and the padding id.

    Returns:
        Token ids, `[batch, max_length]`, int32, padded.

    Raises:
        ConfigError: The prompt is empty, or leaves no room for a token.
    """
    length = prompt.shape[1]
    if not 0 < length < config.max_length:
        raise ConfigError(
            f"a prompt of {length} tokens leaves nothing to generate up to max_length {config.max_length}; "
            "it needs one token at least, and max_length must exceed it"
        )
    return jnp.pad(prompt.astype(jnp.int32), ((0, 0), (0, config.max_length - length)), constant_values=config.pad_id)


def length_divisors(config: GenerationConfig) -> Float[Array, " lengths"]:
    """Lists the divisor of a text's score for each number of generated tokens.

    Args:
        config: Holds the largest length and the length penalty.

    Returns:
        `[max_length + 1]`: `max(length, 1) ** length_penalty` for lengths 0 to `max_length`.
    """
    lengths = range(config.max_length + 1)
    return jnp.array([max(length, 1) ** config.length_penalty for length in lengths], jnp.float32)
