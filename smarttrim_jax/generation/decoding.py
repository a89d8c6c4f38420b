"""What every way of generating shares: the decoder it drives, the prompt, the result."""

import dataclasses
from typing import Protocol, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.generation.config import GenerationConfig

Cache = TypeVar("Cache")


class Step(Protocol[Cache]):
    """One position of a decoder."""

    def __call__(
        self, cache: Cache, ids: Int[Array, " rows"], position: Int[Array, ""]
    ) -> tuple[Float[Array, "rows vocabulary"], Cache]:
        """The logits of the token after `position`, and the cache with `position`.

        Args:
            cache: of the positions before; a tree of arrays, each with a leading axis of rows.
            ids: at `position`.
            position: counted from 0, the same for all rows.
        """


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Generated:
    """Texts.

    Attributes:
        ids: with the prompt and, where a text ended in time, its end; padding behind.
        scores: log-probability of what follows the prompt, divided by its length to the power `length_penalty`; of
            the model itself in greedy search and sampling, after the repetition penalty in beam search.
    """

    ids: Int[Array, "batch max_length"]
    scores: Float[Array, " batch"]


def read_prompt(step: Step[Cache], cache: Cache, prompt: Int[Array, "batch prompt"]) -> Cache:
    """The cache with all of the prompt but its last token, whose logits are the first that matter."""

    def advance(position: Int[Array, ""], cache: Cache) -> Cache:
        return step(cache, prompt[:, position], position)[1]

    return jax.lax.fori_loop(0, prompt.shape[1] - 1, advance, cache) if prompt.shape[1] > 1 else cache


def begin(prompt: Int[Array, "batch prompt"], config: GenerationConfig) -> Int[Array, "batch max_length"]:
    """The prompt in rows of the final length, padded.

    Raises:
        ConfigError: a prompt that leaves no room.
    """
    length = prompt.shape[1]
    if not 0 < length < config.max_length:
        raise ConfigError(
            f"a prompt of {length} tokens leaves nothing to generate up to max_length {config.max_length}; "
            "it needs one token at least, and max_length must exceed it"
        )
    return jnp.pad(prompt.astype(jnp.int32), ((0, 0), (0, config.max_length - length)), constant_values=config.pad_id)


def length_divisors(config: GenerationConfig) -> Float[Array, " lengths"]:
    """By what a score is divided, for every number of generated tokens."""
    lengths = range(config.max_length + 1)
    return jnp.array([max(length, 1) ** config.length_penalty for length in lengths], jnp.float32)
