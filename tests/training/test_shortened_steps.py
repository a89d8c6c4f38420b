"""Tokens leave memory in the steps after the curriculum alone, and leave no trace in the state."""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np
import pytest
from tiny_run import tiny_model
from tiny_tasks import blip

from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import ExperimentConfig, ScheduleConfig
from smarttrim_jax.nn.vision import VisionConfig
from smarttrim_jax.tasks.synthetic import abstract_batch, synthetic_task
from smarttrim_jax.training import run
from smarttrim_jax.training.older_runs import settings_of_today
from smarttrim_jax.training.run import train
from smarttrim_jax.training.run_data import fit_to_data
from smarttrim_jax.training.step import Steps
from smarttrim_jax.trimming.capacity import CapacityConfig
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import GateKey, Gates, TrimRecord
from smarttrim_jax.trimming.policies import RunTrimming

VISION = VisionConfig(image_size=8, patch_size=4, width=16, depth=4, heads=2, mlp_width=16)
SCHEDULE = ScheduleConfig(full_steps=1, trim_steps=4, log_every=1, save_every=10, writers=())


@pytest.fixture(scope="module")
def shortening(experiment: ExperimentConfig) -> ExperimentConfig:
    """The tiny run with a deeper encoder, whose last two steps hold three of five tokens."""
    model = tiny_model(vision=VISION, scan=True)
    config = dataclasses.replace(experiment, model=model, schedule=SCHEDULE, capacity=CapacityConfig(image=0.6))
    return fit_to_data(config, prepare(config.data))


class _Reached(Exception):  # noqa: N818 (no error: what is looked for)
    pass


@pytest.mark.parametrize(
    ("capacity", "needed", "last", "share"),
    [
        (CapacityConfig(image=0.6), 0.0, "trim_shortened", 0.6),
        (CapacityConfig(), 0.3, "trim", 0.0),  # too few steps are left
        (CapacityConfig(fewest_steps=2), 0.3, "trim_shortened", 0.375),
        (CapacityConfig(fewest_steps=2), 0.9, "trim", 0.0),
        (CapacityConfig(fewest_steps=2), 0.0, "trim", 0.0),
        (CapacityConfig(fewest_steps=2, measured=False), 0.3, "trim", 0.0),
    ],
)
def test_a_run_shortens_only_after_the_curriculum(
    shortening: ExperimentConfig,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capacity: CapacityConfig,
    needed: float,
    last: str,
    share: float,
) -> None:
    config = dataclasses.replace(shortening, capacity=capacity)
    chosen: list[Any] = []
    state = {"needed": {side: np.float32(needed) for side in config.measured_sides}}

    def choose(_: Any, step_fn: Any, *args: Any, **settings: Any) -> None:
        chosen.extend(step_fn(done, state) for done in range(settings["total_steps"]))
        raise _Reached

    monkeypatch.setattr(run, "jit_step", lambda step, shardings: step)
    monkeypatch.setattr(run, "_initial_state", lambda *_: None)
    monkeypatch.setattr(run, "fit", choose)
    with pytest.raises(_Reached):
        train(config, str(tmp_path))
    assert [step.__name__ for step in chosen] == ["full", "trim", "trim", last, last]
    assert chosen[-1].__self__.capacity.image == share


@pytest.mark.slow
def test_the_curriculum_measures_what_examples_need_and_then_stops(shortening: ExperimentConfig) -> None:
    config = dataclasses.replace(shortening, capacity=CapacityConfig())
    task = synthetic_task(config)
    params = task.model.init(jax.random.key(0))
    steps = Steps.of(task, params)
    state = steps.initial_state(params)
    assert config.measured_sides == tuple(state["needed"]) == ("image",)
    shapes = abstract_batch(config, config.data.batch_size)
    batch = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    trim = jax.jit(steps.trim)
    # Untrained trimmers keep everything. From the third step on, the second of trim-tuning, the target stays.
    for done, measured, expected in ((1, 0.0, 1.0), (2, 0.5, 0.55), (3, 0.5, 0.5)):
        before = state | {"step": np.int32(done), "needed": {"image": np.float32(measured)}}
        np.testing.assert_allclose(trim(before, batch)[0]["needed"]["image"], expected, rtol=1e-6)


def test_what_examples_need_is_counted_before_the_removal() -> None:
    counts = np.array([[5, 5, 5, 5], [5, 4, 2, 1], [2, 2, 1, 1], [1, 1, 1, 1]])
    gates = (np.arange(5) < counts[..., None]).astype(np.float32)
    record = TrimRecord({GateKey("image", "image"): Gates(gates)}, {GateKey("image", "image"): gates[0]})
    np.testing.assert_allclose(record.need("image", CapacityConfig()), np.quantile([5, 4, 2, 1], 0.98) / 5, rtol=1e-6)


def test_older_runs_go_on_without_measuring() -> None:
    capacity = {"image": 0.0, "text": 0.0, "after": 0.5}
    assert settings_of_today({"capacity": capacity})["capacity"] == {"measured": False, **capacity}
    assert settings_of_today({"capacity": {"measured": True}})["capacity"] == {"measured": True}


@pytest.mark.slow
@pytest.mark.parametrize("is_64_bit", [False, True])
def test_the_state_of_a_run_keeps_its_shapes_and_types(shortening: ExperimentConfig, is_64_bit: bool) -> None:
    with jax.enable_x64(is_64_bit):
        _assert_steps_keep_shapes_and_types(shortening)


def _assert_steps_keep_shapes_and_types(shortening: ExperimentConfig) -> None:
    task = synthetic_task(shortening)
    abstract = jax.eval_shape(task.model.init, jax.random.key(0))
    steps = Steps.of(task, abstract)
    batch = abstract_batch(shortening, shortening.data.batch_size)
    state = jax.eval_shape(steps.initial_state, abstract)
    after, metrics = jax.eval_shape(steps.trim_shortened, state, batch)
    assert after == state
    assert jax.eval_shape(steps.trim, state, batch)[0] == state
    assert jax.eval_shape(steps.full, state, batch)[0] == state
    assert {leaf.shape for leaf in metrics.values()} == {()}
    assert "overflow" in metrics


@pytest.mark.parametrize(
    ("capacity", "message"),
    [
        (
            {"image": 0.6, "after": 0.2},
            "before layer 1 of the image encoder, which closes them from layer 1 on and has 4",
        ),
        ({"image": 0.6, "after": 1.0}, "before layer 4 of the image"),
        ({"text": 0.6}, "before layer 0 of the text .* set capacity.text to 0"),
    ],
)
def test_tokens_cannot_leave_before_any_is_closed(shortening, capacity, message) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(shortening, capacity=CapacityConfig(**capacity))


def test_what_no_capacity_can_be_is_named(shortening: ExperimentConfig) -> None:
    with pytest.raises(ConfigError, match=r"CapacityConfig\.image is 1\.5; .* between 0 and 1"):
        CapacityConfig(image=1.5)
    kept = tiny_model(vision=VISION, trimming=TrimmingConfig(image=RunTrimming(tokens=False)))
    with pytest.raises(ConfigError, match=r"capacity\.image needs closed tokens"):
        dataclasses.replace(shortening, model=kept)
    data = dataclasses.replace(shortening.data, start="[ENC]")
    with pytest.raises(ConfigError, match=r"capacity\.text is .*, but this model has no text encoder whose tokens"):
        dataclasses.replace(
            shortening, model=blip("vqa", vision=VISION), data=data, task="vqa", capacity=CapacityConfig(text=0.5)
        )
