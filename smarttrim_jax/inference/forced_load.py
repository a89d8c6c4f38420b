"""What an untrained model is timed on: random inputs, and gates that keep the share of tokens one asks for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.inference.executor import Batch
from smarttrim_jax.models.forced import ForcedFunctional
from smarttrim_jax.models.functional import Functional, ModelConfig, Params
from smarttrim_jax.trimming.forced import offset_that_keeps
from smarttrim_jax.trimming.gates import Trim

SPREAD = 0.25
"""Standard deviation of the share that forced examples keep, relative to its mean."""


@dataclasses.dataclass(frozen=True)
class ForcedLoad:
    """A model whose gates are forced, and a batch for it.

    Attributes:
        model: keeps what the offset of a `Trim` says, in a random order of the tokens, and all heads.
        params: Parameters of the model.
        batch: Random images, and random texts of full length without padding.
        random: Draws the shares that examples keep.
    """

    model: ForcedFunctional
    params: Params
    batch: Batch
    random: np.random.Generator

    def trim(self, keep: float) -> Trim:
        """The decisions at which the examples keep `keep` of their tokens on average, each a share of its own."""
        examples = len(self.batch[1])
        shares = np.clip(self.random.normal(keep, SPREAD * keep * (keep < 1), examples), 0.0, 1.0)
        return Trim(offset=offset_that_keeps(jnp.asarray(shares, jnp.float32)))


def forced_load(config: ModelConfig, params: Params, text_length: int, batch_size: int, seed: int) -> ForcedLoad:
    """The load of one batch size; the same seed gives the same load.

    Args:
        config: Model configuration with trimmers and a vocabulary.
        params: Parameters of the model.
        text_length: Tokens of every text.
        batch_size: Examples of the batch.
        seed: Seed of everything random but the parameters.

    Raises:
        ConfigError: The model has no trimmers.
    """
    if config.trimming is None:
        raise ConfigError("the config's model has no trimmers (model.trimming is None)")
    random, side = np.random.default_rng(seed), config.vision.image_size
    batch = (
        jnp.asarray(random.normal(size=(batch_size, config.images, side, side, 3)), jnp.float32),
        jnp.asarray(random.integers(3, config.text.vocab_size, (batch_size, text_length))),
        jnp.ones((batch_size, text_length), jnp.int32),
    )
    return ForcedLoad(_forced(Functional(config), params, batch, random), params, batch, random)


def _forced(model: Functional, params: Params, batch: Batch, random: np.random.Generator) -> ForcedFunctional:
    """The model with a random order of the tokens for each number of them."""
    record = jax.eval_shape(lambda *args: model.apply(*args, trim=Trim()).record, params, *batch)
    order: dict[int, jax.Array] = {}
    for gates in record.gates.values():
        count = gates.tokens.shape[-1]
        if count not in order:
            order[count] = jnp.asarray((random.permutation(count) + 0.5)[None] / count, jnp.float32)
    return ForcedFunctional(
        model.config,
        tokens={name: order[gates.tokens.shape[-1]] for name, gates in record.gates.items()},
        heads={
            name: jnp.ones((1, gates.heads.shape[-1]))
            for name, gates in record.gates.items()
            if gates.heads is not None
        },
    )
