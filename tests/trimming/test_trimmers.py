"""Where trimmers stand, and what they read."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.traverse_util import flatten_dict
from fresh_params import fresh_params

from smarttrim_jax.models.functional import Functional
from smarttrim_jax.tokens import Padded
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import Trim
from smarttrim_jax.trimming.policies import LayerContext, LearnedPolicyConfig, RunTrimming, SideShape
from smarttrim_jax.trimming.trimmers import CrossModalTokenTrimmer, HeadTrimmer, TokenTrimmer


def paths(config: Any) -> set[str]:
    shapes = jax.eval_shape(Functional(config).init, jax.random.key(0))
    return {path for path in flatten_dict(shapes, sep="/") if path.startswith("trimmers/")}


def depths(config: Any) -> dict[str, set[int]]:
    """Layers with trimmers, by run."""
    shapes = jax.eval_shape(Functional(config).init, jax.random.key(0)).get("trimmers", {})
    return {name: {leaf.shape[0] for leaf in jax.tree.leaves(run)} for name, run in shapes.items()}


def trimming(**runs: RunTrimming) -> TrimmingConfig:
    return TrimmingConfig(policy=LearnedPolicyConfig(hidden=8), **runs)


def test_by_default_encoders_trim_from_their_second_layer_and_the_fusion_from_its_first(tiny_meter):
    assert depths(tiny_meter.config) == {"image": {2}, "text": {1}, "fusion_text": {2}, "fusion_image": {2}}


def test_placement_follows_the_configuration_of_each_run(tiny_meter):
    placed = trimming(
        image=RunTrimming(heads=False),
        text=RunTrimming(tokens=False, heads=False),
        cross_modal=RunTrimming(tokens=False, first_layer=1),
    )
    config = dataclasses.replace(tiny_meter.config, trimming=placed)
    assert depths(config) == {"image": {3}, "fusion_text": {1}, "fusion_image": {1}}
    assert not any("/head/" in path for path in paths(config) if "/image/" in path)
    assert not any("/token/" in path for path in paths(config) if "/fusion" in path)


def test_layers_and_kinds_without_trimmers_keep_everything(tiny_meter):
    placed = trimming(
        image=RunTrimming(tokens=False, first_layer=2),
        text=RunTrimming(first_layer=9),
        cross_modal=RunTrimming(heads=False, first_layer=1),
    )
    tiny = tiny_meter.with_config(trimming=placed)
    params = fresh_params(tiny.config)
    record = tiny.run(Trim(-1e3), params=params).record
    full, gates = record.opened().gates, record.gates
    np.testing.assert_array_equal(gates["image", "image"].tokens, full["image", "image"].tokens)
    assert gates["image", "image"].heads.mean((1, 2)).tolist() == [1, 1, 0]
    for part in ("tokens", "heads"):
        np.testing.assert_array_equal(getattr(gates["text", "text"], part), getattr(full["text", "text"], part))
    for side in (("fusion", "image"), ("fusion", "text")):
        np.testing.assert_array_equal(gates[side].tokens[0], full[side].tokens[0])
        assert (gates[side].tokens[1].sum(-1) == 1).all()
        assert (gates[side].heads == 1).all()
        assert (gates[side].cross_heads == 1).all()


def test_a_new_trimmer_keeps_with_a_probability_above_99_percent():
    config, rngs = LearnedPolicyConfig(hidden=8), nnx.Rngs(0)
    values = 10 * jax.random.normal(jax.random.key(0), (4, 50, 16))
    tokens, other = Padded(values, jnp.ones((4, 50))), values[:, 0]
    for logits in (
        TokenTrimmer(16, config, rngs=rngs)(tokens, None),
        CrossModalTokenTrimmer(16, 16, config, rngs=rngs)(tokens, other),
        HeadTrimmer(16, 0, 6, config, rngs=rngs)(other),
        HeadTrimmer(16, 16, 6, config, rngs=rngs)(other, -other),
    ):
        keep, drop = logits[..., 0], logits[..., 1]
        assert (jax.nn.sigmoid(keep - drop) > 0.99).all()
        assert (keep != keep.reshape(-1)[0]).any()


@pytest.mark.parametrize("guidance", ["cross_modal", "self"])
def test_token_decisions_read_the_other_side_only_under_cross_modal_guidance(guidance):
    config = LearnedPolicyConfig(hidden=8, guidance=guidance, initial_bias=0.0)
    trimmers = config.build(SideShape(16, 2, (16,)), RunTrimming(), rngs=nnx.Rngs(0))
    tokens = Padded(jax.random.normal(jax.random.key(0), (2, 200, 16)), jnp.ones((2, 200)))

    def decisions(seed: int) -> tuple[jax.Array, jax.Array]:
        other = jax.random.normal(jax.random.key(seed), (2, 16))
        closed, gates = trimmers(tokens, LayerContext((other,), jnp.ones((2, 200))), Trim())
        return closed.gate, gates.heads

    (first, first_heads), (second, second_heads) = decisions(1), decisions(2)
    assert 0.05 < first.mean() < 0.95
    assert bool((first != second).any()) == (guidance == "cross_modal")
    np.testing.assert_array_equal(first_heads, second_heads)


def test_trimmers_take_plain_arrays_as_well_as_tokens():
    config = LearnedPolicyConfig(hidden=8)
    values = jax.random.normal(jax.random.key(0), (2, 5, 16))
    tokens = Padded(values, jnp.ones((2, 5)))
    alone = TokenTrimmer(16, config, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(alone(values), alone(tokens))
    guided = CrossModalTokenTrimmer(16, 16, config, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(guided(values, values[:, 0]), guided(tokens, values[:, 0]))
