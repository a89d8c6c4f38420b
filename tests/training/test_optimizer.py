"""Groups, weight decay, schedules and accumulation of the optimizer."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.training.optimizer import (
    OptimizerConfig,
    learning_rate,
    make_optimizer,
)

NAMES = {
    "image/layers/mlp/up/kernel": "backbone",
    "text/position_embedding/embedding": "backbone",
    "text/layers/head/kernel": "backbone",
    "fusion_text/cross_attention/query/kernel": "cross_modal",
    "fusion_image/mlp/down/bias": "cross_modal",
    "text_transform/kernel": "cross_modal",
    "image_pooler/dense/bias": "cross_modal",
    "head/vqa/net/norm/scale": "head",
    "trimmers/fusion_text/token/up/kernel": "trimmer",
}
CONSTANT = OptimizerConfig(learning_rate=1e-2, schedule="constant", warmup_fraction=0.0)


def make_params(seed: int = 0) -> dict[str, jax.Array]:
    random = np.random.default_rng(seed)
    tree: dict = {}
    for name in NAMES:
        *parents, leaf = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = jnp.asarray(random.standard_normal((3, 2)), jnp.float32)
    return tree


def updates_of(config: OptimizerConfig, params, gradients, steps: int = 3, total: int = 12):
    optimizer = make_optimizer(config, params, total, MeterConfig().parameter_group)
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for _ in range(steps):
        updates, state = update(gradients, state, params)
    return updates


def test_names_fall_into_their_groups():
    assert {name: MeterConfig().parameter_group(name) for name in NAMES} == NAMES


def test_each_group_gets_exactly_its_multiple_of_the_whole_update_decay_included():
    params, gradients = make_params(), make_params(1)
    multipliers = {"trimmer": 20.0, "head": 10.0, "cross_modal": 5.0, "backbone": 1.0}
    plain = updates_of(CONSTANT, params, gradients)
    scaled = updates_of(dataclasses.replace(CONSTANT, head=10.0, cross_modal=5.0, trimmer=20.0), params, gradients)

    def check(path, plain, scaled):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        np.testing.assert_array_equal(scaled, np.float32(multipliers[NAMES[name]]) * plain)

    jax.tree_util.tree_map_with_path(check, plain, scaled)


def test_biases_and_norms_do_not_decay_and_everything_else_does():
    params = make_params()
    updates = updates_of(CONSTANT, params, jax.tree.map(jnp.zeros_like, params))
    decayed = {
        jax.tree_util.keystr(path, simple=True, separator="/"): bool(jnp.any(update != 0))
        for path, update in jax.tree_util.tree_leaves_with_path(updates)
    }
    assert decayed == {name: not name.endswith(("/bias", "/scale")) for name in NAMES}
    kernel = updates["image"]["layers"]["mlp"]["up"]["kernel"]
    expected = -CONSTANT.learning_rate * CONSTANT.weight_decay * params["image"]["layers"]["mlp"]["up"]["kernel"]
    np.testing.assert_allclose(kernel, expected, rtol=1e-6)


def test_two_half_batches_make_one_whole_batch():
    data = np.random.default_rng(0).standard_normal((2, 8, 3)).astype(np.float32)
    params = {"head": {"kernel": jnp.ones((3, 1)), "bias": jnp.zeros(1)}}

    def loss(params, x):
        return jnp.mean((x @ params["head"]["kernel"] + params["head"]["bias"] - 1) ** 2)

    def train(config, batches):
        optimizer = make_optimizer(config, params, len(batches), MeterConfig().parameter_group)

        @jax.jit
        def step(trained, state, x):
            updates, state = optimizer.update(jax.grad(loss)(trained, x), state, trained)
            return optax.apply_updates(trained, updates), state

        donating = jax.jit(step, donate_argnums=(0, 1))
        trained = jax.tree.map(jnp.copy, params)
        state = optimizer.init(trained)
        for x in batches:
            trained, state = donating(trained, state, x)
        return trained

    # A rising rate too: an update must see the rate of the step that its batches belong to.
    config = OptimizerConfig(learning_rate=0.1, warmup_fraction=0.5, clip_norm=0.5)
    whole = train(config, list(np.concatenate([data, data[:, ::-1]])))
    halves = train(
        dataclasses.replace(config, accumulate=2),
        [half for batch in np.concatenate([data, data[:, ::-1]]) for half in (batch[:4], batch[4:])],
    )
    chex.assert_trees_all_close(whole, halves, atol=1e-6)
    assert float(jnp.max(jnp.abs(whole["head"]["kernel"] - 1))) > 1e-3


def test_the_global_norm_is_clipped_before_the_moments():
    params, gradients = make_params(), make_params(1)
    config = dataclasses.replace(CONSTANT, clip_norm=1e-3, eps=1.0, weight_decay=0.0)
    clipped = updates_of(config, params, gradients, steps=1)
    rescaled = jax.tree.map(lambda g: g * 1e-3 / optax.tree.norm(gradients), gradients)
    by_hand = updates_of(dataclasses.replace(config, clip_norm=0.0), params, rescaled, steps=1)
    chex.assert_trees_all_close(clipped, by_hand, rtol=1e-5)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0.0, 0.5, 1.0, 0.5, 0.0]),
        ("cosine", [0.0, 0.5, 1.0, 0.5, 0.0]),
        ("constant", [0.0, 0.5, 1.0, 1.0, 1.0]),
    ],
)
def test_the_rate_rises_then_follows_its_schedule(schedule, expected):
    rate = learning_rate(OptimizerConfig(learning_rate=1.0, schedule=schedule, warmup_fraction=0.2), 100)
    np.testing.assert_allclose([rate(step) for step in (0, 10, 20, 60, 100)], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": -1.0}, "OptimizerConfig.learning_rate is -1.0; it must be at least 0"),
        ({"warmup_fraction": 1.5}, "OptimizerConfig.warmup_fraction is 1.5; it must be between 0 and 1"),
        ({"accumulate": 0}, "OptimizerConfig.accumulate is 0; it must be at least 1"),
        ({"schedule": "step"}, "OptimizerConfig.schedule is 'step'; accepted: 'linear', 'cosine', 'constant'"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        OptimizerConfig(**settings)


def test_steps_that_would_reach_no_update_are_refused():
    with pytest.raises(ConfigError, match="total_steps is 7; take a multiple of accumulate, which is 2"):
        make_optimizer(OptimizerConfig(accumulate=2), make_params(), 7, MeterConfig().parameter_group)
