"""The steps that the benchmark compares are the run's own."""

import dataclasses

import pytest
from tiny_run import tiny_model

from smarttrim_jax.benchmarking.step_speed import measure_steps
from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import ExperimentConfig, ScheduleConfig
from smarttrim_jax.reporting.tables import format_step
from smarttrim_jax.training.run_data import fit_to_data
from smarttrim_jax.trimming.capacity import CapacityConfig


@pytest.mark.slow
def test_a_trimmed_step_is_quoted_against_a_plain_one(experiment: ExperimentConfig) -> None:
    model = tiny_model(vision=dataclasses.replace(tiny_model().vision, depth=4), scan=True)
    config = dataclasses.replace(experiment, model=model, capacity=CapacityConfig(image=0.6))
    plain, trim, shortened = measure_steps(fit_to_data(config, prepare(config.data)), [8], repeats=1)
    assert [row["step"] for row in (plain, trim, shortened)] == ["plain", "trim", "shortened"]
    assert plain["cost"] == 1
    assert trim["cost"] == trim["seconds"] / plain["seconds"]
    assert shortened["cost"] == shortened["seconds"] / plain["seconds"]
    assert format_step({**trim, "seconds": 1.5, "cost": 1.9}) == "trim           8     1500.0    1.90x"


def test_a_model_without_trimmers_has_no_trimmed_step(experiment: ExperimentConfig) -> None:
    model = dataclasses.replace(experiment.model, trimming=None)
    schedule = ScheduleConfig(full_steps=1, trim_steps=0)
    with pytest.raises(ConfigError, match="no trimmers"):
        next(measure_steps(dataclasses.replace(experiment, model=model, schedule=schedule), [8], repeats=1))
