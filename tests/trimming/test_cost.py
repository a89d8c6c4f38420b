"""The cost objective: what is kept, how far above budget, and the pressure that follows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.trimming.cost import (
    CostConfig,
    cost_loss,
    initial_multiplier,
    misses,
    retention,
    update_multiplier,
)
from smarttrim_jax.trimming.gates import GateKey, Gates, TrimRecord

TEXT = GateKey("text", "text")


@pytest.fixture
def record() -> TrimRecord:
    """Two layers, one example of three tokens, one of them padding: 3 of 4 tokens and 3 of 6 heads kept."""
    gates = Gates(
        tokens=jnp.float32([[[1, 1, 0]], [[1, 0, 0]]]),
        heads=jnp.float32([[[1, 1]], [[0, 0]]]),
        cross_heads=jnp.float32([[[1]], [[0]]]),
    )
    return TrimRecord({TEXT: gates}, {TEXT: jnp.float32([[1, 1, 0]])})


def test_retention_counts_tokens_and_heads_apart_and_no_padding(record: TrimRecord) -> None:
    np.testing.assert_allclose(retention(record), [0.75, 0.5])


def test_misses_are_of_macs_or_of_both_shares(record: TrimRecord) -> None:
    ratio, target = jnp.float32(0.7), jnp.float32(0.5)
    np.testing.assert_allclose(misses(CostConfig(), record, ratio, target), [0.2], rtol=1e-6)
    by_share = misses(CostConfig(kind="ratio"), record, ratio, target)
    np.testing.assert_allclose(by_share, [0.25, 0.0], atol=1e-7)


def test_cost_is_a_square_and_a_multiplied_miss() -> None:
    config, miss, multiplier = CostConfig(weight=10.0), jnp.float32([0.2]), jnp.float32([3.0])
    np.testing.assert_allclose(cost_loss(config, miss, multiplier), 10 * 0.04 + 0.6, rtol=1e-6)
    slope = jax.grad(lambda miss: cost_loss(config, miss, multiplier))(miss)
    np.testing.assert_allclose(slope, [2 * 10 * 0.2 + 3], rtol=1e-6)
    slope = jax.grad(lambda multiplier: cost_loss(config, miss, multiplier))(multiplier)
    assert slope == 0


def test_the_multiplier_follows_the_miss_and_never_turns_negative() -> None:
    config = CostConfig(multiplier_rate=0.5)
    multiplier = initial_multiplier(config)
    np.testing.assert_array_equal(multiplier, [0])
    multiplier = update_multiplier(config, multiplier, jnp.float32([0.4]))
    np.testing.assert_allclose(multiplier, [0.2], rtol=1e-6)
    np.testing.assert_array_equal(update_multiplier(config, multiplier, jnp.float32([-1.0])), [0])
    assert initial_multiplier(CostConfig(kind="ratio")).shape == (2,)


def test_a_target_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"target_speedup is 0\.5"):
        CostConfig(target_speedup=0.5)
