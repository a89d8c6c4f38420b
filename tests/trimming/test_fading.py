"""Tokens that fade in training (`gate="noise"`), in a whole model."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fresh_params import fresh_params
from tiny_run import small_model

from smarttrim_jax.models.functional import Functional
from smarttrim_jax.trimming.capacity import CapacityConfig
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import Trim
from smarttrim_jax.trimming.policies import LearnedPolicyConfig


def faded_model(gate: Any = "noise", **changes: Any) -> Functional:
    model = small_model(trimming=TrimmingConfig(policy=LearnedPolicyConfig(gate=gate)))
    return Functional(dataclasses.replace(model, **changes))


@pytest.fixture(scope="module")
def inputs() -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(0)
    mask = (np.arange(12) < np.array([12, 7, 4, 1])[:, None]).astype(np.int32)
    ids = np.where(mask, random.integers(3, 50, mask.shape), 1).astype(np.int32)
    return random.normal(size=(4, 32, 32, 3)).astype(np.float32), ids, mask


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("share", [None, 0.5])
def test_gates_lie_between_and_all_trimmers_learn(inputs: Any, dtype: str, share: float | None) -> None:
    model = faded_model(dtype=dtype)
    params = fresh_params(model.config)
    capacity = CapacityConfig() if share is None else CapacityConfig(image=share)

    def loss(params: Any, offset: jax.Array) -> Any:
        trim = Trim(offset=offset, capacity=capacity)
        output = model.apply(params, *inputs, trim=trim, key=jax.random.key(0))
        return jnp.sum(output.logits["vqa"] ** 2), output.record

    program = jax.jit(jax.grad(loss, has_aux=True))
    for offset in (-5.0, -1e3):
        gradients, record = program(params, jnp.float32(offset))
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradients))
        if offset == -5.0:
            assert all(((each.tokens > 0) & (each.tokens < 1)).any() for each in record.gates.values())
            assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients["trimmers"]))


@pytest.mark.slow
def test_evaluation_knows_nothing_of_it(inputs: Any) -> None:
    params = fresh_params(faded_model().config)
    logits = [
        jax.jit(faded_model(gate).apply)(params, *inputs, trim=Trim(jnp.float32(-5.0))).logits["vqa"]
        for gate in ("noise", "gumbel")
    ]
    np.testing.assert_array_equal(*logits)


def test_fading_needs_attention_that_multiplies_by_gates() -> None:
    assert faded_model(attention="cudnn").config.kernel == "xla"
    assert faded_model("gumbel", attention="cudnn").config.kernel == "cudnn"
