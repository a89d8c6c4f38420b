"""A step of trim-tuning has the same gradients whichever kernel computes its attention."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import optax
import pytest
from fresh_params import fresh_params
from tiny_run import decisive, tiny_model

from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.tasks.synthetic import abstract_batch, synthetic_task
from smarttrim_jax.tokens import Kernel
from smarttrim_jax.tokens.attention import cudnn, splash
from smarttrim_jax.training.step import Steps
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.policies import LearnedPolicyConfig


@pytest.fixture(scope="module")
def gradients(experiment: ExperimentConfig) -> Any:
    """The gradients of one step of trim-tuning, by plain gradient descent, and its metrics, by kernel."""
    policy = LearnedPolicyConfig(hidden=4, initial_bias=0.0)
    model = tiny_model(heads=(HeadConfig("vqa", "classifier", 3),), scan=True, trimming=TrimmingConfig(policy=policy))
    model = dataclasses.replace(model, text=dataclasses.replace(model.text, vocab_size=10))
    params = fresh_params(model)
    params |= {"trimmers": decisive(params["trimmers"])}

    @functools.cache
    def run(kernel: Kernel) -> Any:
        config = dataclasses.replace(
            experiment, model=dataclasses.replace(model, attention=kernel), generator="unsafe_rbg"
        )
        steps, random = Steps(synthetic_task(config), optax.sgd(1.0)), np.random.default_rng(0)
        batch = {
            name: random.integers(0, 2, leaf.shape).astype(leaf.dtype) + (name == "text_ids")
            for name, leaf in abstract_batch(config, 4).items()
        }
        state, metrics = jax.device_get(jax.jit(steps.trim)(steps.initial_state(params), batch))
        return jax.tree.map(lambda before, after: before - after, params, state["params"]), metrics

    return run


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["cudnn", "splash"])
def test_a_step_is_that_of_plain_attention(gradients: Any, monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> None:
    monkeypatch.setattr(cudnn, "IMPLEMENTATION", "xla")
    monkeypatch.setattr(cudnn, "suits_cudnn", lambda query: True)
    monkeypatch.setattr(splash, "INTERPRET", True)
    expected, metrics = gradients("xla")
    found, other_metrics = gradients(kernel)
    assert 0.2 < metrics["macs_ratio"] < 0.9
    np.testing.assert_allclose(other_metrics["loss"], metrics["loss"], rtol=1e-5)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    for (path, ours), theirs in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * largest, err_msg=str(path))
