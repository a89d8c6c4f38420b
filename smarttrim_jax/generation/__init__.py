"""Texts from a decoder: greedy search, beam search, sampling, as functions of fixed shapes.

Call them inside of `jax.jit`: they loop on the device and stop as soon as every text has ended.
"""

import jax
from jaxtyping import Array, Int

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.generation.beams import beam_search
from smarttrim_jax.generation.config import GenerationConfig
from smarttrim_jax.generation.decoding import Cache, Generated, Step
from smarttrim_jax.generation.greedy_and_sampling import greedy_search, sample

__all__ = ["Generated", "GenerationConfig", "Step", "beam_search", "generate", "greedy_search", "sample"]


def generate(
    step: Step[Cache],
    cache: Cache,
    prompt: Int[Array, "batch prompt"],
    config: GenerationConfig,
    keys: jax.Array | None = None,
) -> Generated:
    """Texts in the way that `config` asks for.

    Args:
        step: the decoder.
        cache: its start, without any position, of one row for every example.
        prompt: what every text begins with; at least one token.
        config: how.
        keys: of sampling, one for every example.

    Raises:
        ConfigError: sampling without keys, a prompt that leaves no room, or an end that the vocabulary does not have.
    """
    if config.sample:
        if keys is None:
            raise ConfigError("sampling draws at random: pass keys, one for every example")
        return sample(step, cache, prompt, config, keys)
    search = beam_search if config.num_beams > 1 else greedy_search
    return search(step, cache, prompt, config)
