"""Text generation from a decoder: greedy search, beam search and sampling, as functions of fixed shapes.

Call them inside `jax.jit`: they loop on the device and stop as soon as all texts have ended.
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
    """Generates a text for each example in the way that `config` asks for.

    Args:
        step: Computes one position of the decoder.
        cache: The decoder's cache without any position, with one row per example. Beam search repeats it for its
            beams.
        prompt: Token ids that each text begins with, `[batch, prompt]`; at least one token.
        config: Settings of the generation.
        keys: Random keys of sampling, one for each example; not used by searches.

    Returns:
        The texts and their scores.

    Raises:
        ConfigError: Sampling has no keys, the prompt leaves no room for a token, or `eos_id` is not in the
            vocabulary.
    """
    if config.sample:
        if keys is None:
            raise ConfigError("sampling draws at random: pass keys, one for every example")
        return sample(step, cache, prompt, config, keys)
    search = beam_search if config.num_beams > 1 else greedy_search
    return search(step, cache, prompt, config)
