"""Inputs of benchmarks of untrained models: random batches, and gates that keep a given share of tokens."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.execution.base import Batch
from smarttrim_jax.models.config import ModelConfig
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.trimming.gates import GateKey, Trim, TrimRecord
from smarttrim_jax.trimming.policies import ForcedPolicyConfig, LearnedPolicyConfig
from smarttrim_jax.trimming.policies.forced import NEVER, forced_trimmers, offset_that_keeps

SPREAD = 0.25
"""Standard deviation of the shares that examples keep, relative to the mean share."""


@dataclasses.dataclass(frozen=True)
class ForcedLoad:
    """A model whose gates are forced, and a batch for it.

    Attributes:
        model: Model that keeps the share of tokens that the offset of a `Trim` encodes, in a random order of the
            tokens, and the same heads for all examples.
        params: The model's parameters.
        batch: Random images, and random texts of full length without padding.
        random: Generator of the shares that examples keep.
    """

    model: Functional
    params: Params
    batch: Batch
    random: np.random.Generator

    def trim(self, keep: float) -> Trim:
        """Draws a share of tokens to keep for every example.

        Args:
            keep: Mean share; at 1 every example keeps everything.

        Returns:
            Settings whose offset `[batch]` makes each example keep its share.
        """
        examples = len(self.batch[1])
        shares = np.clip(self.random.normal(keep, SPREAD * keep * (keep < 1), examples), 0.0, 1.0)
        return Trim(offset=offset_that_keeps(jnp.asarray(shares, jnp.float32)))


def forced_load(
    config: ModelConfig, params: Params, text_length: int, batch_size: int, seed: int, *, keep_heads: float = 1.0
) -> ForcedLoad:
    """Builds the load of one batch size; the same seed gives the same load.

    Args:
        config: Model configuration with trimmers and a vocabulary.
        params: The model's parameters.
        text_length: Tokens of every text.
        batch_size: Number of examples of the batch.
        seed: Seed of everything random except the parameters.
        keep_heads: Share of each attention module's heads that stay open, at least one.

    Returns:
        The model with forced gates, and its batch.

    Raises:
        ConfigError: The model has no trimmers.
    """
    if config.trimming is None:
        raise ConfigError("the config's model has no trimmers (model.trimming is None)")
    random, side = np.random.default_rng(seed), config.image_size
    batch = (
        jnp.asarray(random.normal(size=(batch_size, config.images, side, side, 3)), jnp.float32),
        jnp.asarray(random.integers(3, config.vocab_size, (batch_size, text_length))),
        jnp.ones((batch_size, text_length), jnp.int32),
    )
    record = jax.eval_shape(lambda *args: Functional(config).apply(*args, trim=Trim()).record, params, *batch)
    tables = {"tokens": _orders(record, random), "heads": _heads(record, keep_heads)}
    return ForcedLoad(*forced_model(config, params, **tables), batch, random)


def forced_model(
    config: ModelConfig,
    params: Params,
    *,
    tokens: Mapping[GateKey, Array] | None = None,
    heads: Mapping[GateKey, Array] | None = None,
) -> tuple[Functional, Params]:
    """Replaces the decisions of a model's trimmers by tables; the trimmers are still computed.

    Args:
        config: Configuration of a model with learned trimmers.
        params: The model's parameters.
        tokens: Tables of tokens by gate key; see `forced_trimmers`. None keeps all tokens.
        heads: Tables of heads by gate key; see `forced_trimmers`. None keeps all heads.

    Returns:
        The model and its parameters.

    Raises:
        ConfigError: The model has no trimmers, or its policy is not learned.
    """
    trimming = config.trimming
    if trimming is None or not isinstance(trimming.policy, LearnedPolicyConfig):
        raise ConfigError("the config's model has no trimmers (model.trimming is None, or its policy is not learned)")
    forced = dataclasses.replace(trimming, policy=ForcedPolicyConfig(trimming.policy))
    trimmers = forced_trimmers(params["trimmers"], tokens=tokens or {}, heads=heads or {})
    return Functional(dataclasses.replace(config, trimming=forced)), params | {"trimmers": trimmers}


def _orders(record: TrimRecord, random: np.random.Generator) -> dict[GateKey, Array]:
    """Draws a random order of the tokens of every side; sides of the same length share it."""
    order: dict[int, Array] = {}
    for gates in record.gates.values():
        count = gates.tokens.shape[-1]
        if count not in order:
            order[count] = jnp.asarray((random.permutation(count) + 0.5)[None] / count, jnp.float32)
    return {key: order[gates.tokens.shape[-1]] for key, gates in record.gates.items()}


def _heads(record: TrimRecord, keep: float) -> dict[GateKey, Array]:
    """Keeps the first heads of every module, whatever share of tokens is kept; with random weights all are alike."""
    counts = {key: gates.heads.shape[-1] for key, gates in record.gates.items() if gates.heads is not None}
    kept = {count: max(1, round(keep * count)) for count in counts.values()}
    return {key: jnp.where(jnp.arange(count)[None] < kept[count], 1.0, NEVER) for key, count in counts.items()}
