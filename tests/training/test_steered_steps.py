"""Policies without gradients train at the MACs that the curriculum asks for, since training moves their dial."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.experiment import ExperimentConfig, ScheduleConfig
from smarttrim_jax.tasks.synthetic import abstract_batch, synthetic_task
from smarttrim_jax.training.run_data import fit_to_data
from smarttrim_jax.training.step import Steps
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.policies import MergePolicyConfig, PolicyConfig, RandomPolicyConfig

STEPS = 120


@pytest.fixture(scope="module")
def steered(experiment: ExperimentConfig) -> ExperimentConfig:
    """The tiny run with trim-tuning alone, to a budget that a share of its tokens meets."""
    schedule = ScheduleConfig(full_steps=0, trim_steps=STEPS, writers=())
    cost = dataclasses.replace(experiment.cost, target_speedup=1.3)
    config = dataclasses.replace(experiment, schedule=schedule, cost=cost)
    return fit_to_data(config, prepare(config.data))


@pytest.mark.slow
@pytest.mark.parametrize("policy", [RandomPolicyConfig(), MergePolicyConfig()])
def test_macs_follow_the_curriculum(steered: ExperimentConfig, policy: PolicyConfig) -> None:
    model = dataclasses.replace(steered.model, trimming=TrimmingConfig(policy=policy))
    config: Any = dataclasses.replace(steered, model=model)
    task = synthetic_task(config)
    params = task.model.init(jax.random.key(0))
    steps = Steps.of(task, params)
    state = steps.initial_state(params)
    random = np.random.default_rng(0)
    shapes = abstract_batch(config, config.data.batch_size)
    batch = {name: np.ones(leaf.shape, leaf.dtype) for name, leaf in shapes.items()}
    batch["image"] = random.integers(0, 256, shapes["image"].shape).astype(shapes["image"].dtype)
    step = jax.jit(steps.trim)
    ratios, targets = [], []
    for _ in range(STEPS):
        state, metrics = step(state, batch)
        ratios.append(float(metrics["macs_ratio"]))
        targets.append(float(metrics["target_ratio"]))
    assert ratios[0] > 0.9
    assert np.mean(ratios[-20:]) == pytest.approx(targets[-1], rel=0.05)
    assert targets[-1] == pytest.approx(1 / 1.3)
    assert np.all(np.diff(np.convolve(ratios, np.ones(20) / 20, "valid")) < 0.02)
