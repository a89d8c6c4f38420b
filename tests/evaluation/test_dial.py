"""What is measured of a policy's speed once training has ended."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
from own_package.longest_policy import LongestPolicyConfig

from smarttrim_jax.evaluation.report import measure_dial
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.trimming.calibration import SpeedDial
from smarttrim_jax.trimming.config import TrimmingConfig


@dataclasses.dataclass(frozen=True)
class OneSpeed(LongestPolicyConfig):
    """A policy whose offset changes nothing."""

    has_dial = False


def measured(experiment: ExperimentConfig, policy: Any) -> tuple[SpeedDial, list[float]]:
    """The dial of a model whose cost falls from 1 to .4, and the offsets that were tried."""
    offsets: list[float] = []

    def macs_ratio(batches: Any, offset: float, what: str) -> float:
        offsets.append(offset)
        return 0.4 + 0.6 / (1 + 2.0**-offset)

    model = dataclasses.replace(experiment.model, trimming=TrimmingConfig(policy=policy))
    task = SimpleNamespace(config=dataclasses.replace(experiment, model=model))
    evaluator: Any = SimpleNamespace(task=task, batches=lambda split, limit: [{}], macs_ratio=macs_ratio)
    return measure_dial(evaluator), offsets


def test_a_dial_is_searched_for_the_speed_ups_that_are_asked(experiment: ExperimentConfig) -> None:
    dial, offsets = measured(experiment, LongestPolicyConfig())
    assert len(offsets) > 3
    assert dial.ratio_at(dial.offset_for(2.0)) == pytest.approx(0.5, rel=0.01)


def test_a_policy_with_one_speed_is_measured_once_and_has_it_whatever_is_asked(experiment: ExperimentConfig) -> None:
    dial, offsets = measured(experiment, OneSpeed())
    assert offsets == [0.0]
    assert dial.ratios == (pytest.approx(0.7),)
    assert {dial.offset_for(speedup) for speedup in (1.0, 1.4, 50.0)} == {0.0}
