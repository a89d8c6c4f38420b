"""Time of a step of trim-tuning, relative to one of plain fine-tuning."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from smarttrim_jax.benchmarking.measurement import Timing, time_by_turns
from smarttrim_jax.benchmarking.speed import Row
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.sharding import make_mesh, place_batch, state_shardings
from smarttrim_jax.tasks.synthetic import abstract_batch, synthetic_task
from smarttrim_jax.training.step import Step, Steps, jit_step


def measure_steps(config: ExperimentConfig, batch_sizes: Sequence[int], repeats: int) -> Iterator[Row]:
    """Times a run's steps on random images and texts of full length, on the configuration's mesh.

    Args:
        config: Run configuration with every size given.
        batch_sizes: Batch sizes over all devices.
        repeats: Number of timed steps of each kind.

    Yields:
        Rows of `step_rows`.

    Raises:
        ConfigError: The model has no trimmers, sizes are left to the data, or the mesh does not fit the devices.
    """
    steps = TimedSteps(config)
    for batch_size in batch_sizes:
        yield from step_rows(time_by_turns(steps.calls(batch_size), repeats), batch_size)


class TimedSteps:
    """A run's training steps as functions without arguments, which can be timed.

    Args:
        config: Run configuration with every size given.

    Raises:
        ConfigError: The model has no trimmers, sizes are left to the data, or the mesh does not fit the devices.
    """

    def __init__(self, config: ExperimentConfig):
        if config.model.trimming is None:
            raise ConfigError("the config's model has no trimmers (model.trimming is None)")
        task, self._config, self._mesh = synthetic_task(config), config, make_mesh(config.mesh)
        abstract = jax.eval_shape(task.model.init, config.random_key)
        self._steps = Steps.of(task, abstract)
        self._shardings = state_shardings(
            jax.eval_shape(self._steps.initial_state, abstract), self._mesh, config.model.is_stacked
        )
        self._begin = jax.jit(
            lambda key: self._steps.initial_state(task.model.init(key)), out_shardings=self._shardings
        )

    def calls(self, batch_size: int) -> dict[str, Callable[[], Any]]:
        """Creates a function for each kind of step.

        Each starts with a state of its own and continues from it call by call; its first call compiles.

        Args:
            batch_size: Number of examples over all devices.

        Returns:
            Functions "plain", "trim" and, where the configuration has a capacity, "shortened".
        """
        batch = place_batch(_random_batch(self._config, batch_size), self._mesh)
        compared = {"plain": self._steps.full, "trim": self._steps.trim}
        if self._config.capacity.sides:
            compared["shortened"] = self._steps.trim_shortened
        return {name: self._repeated(step, batch) for name, step in compared.items()}

    def _repeated(self, step: Step, batch: Any) -> Callable[[], Any]:
        """Function that takes one step from where its previous call ended."""
        program = jit_step(step, self._shardings)
        states: list[Any] = []

        def run() -> Any:
            with jax.set_mesh(self._mesh):
                before = states.pop() if states else self._begin(self._config.random_key)
                state, metrics = program(before, batch)
            states.append(state)
            return metrics

        return run


def step_rows(timings: Mapping[str, Timing], batch_size: int) -> list[Row]:
    """Compares the time of each kind of step with that of the plain step.

    Args:
        timings: Timing of each kind of step, "plain" included.
        batch_size: Number of examples over all devices.

    Returns:
        Rows with `step`, `batch_size`, `seconds` (median), `spread` (interquartile range over the median),
        `compile_seconds`, and `cost`, the step's seconds over those of the plain step.
    """
    return [
        {
            "step": name,
            "batch_size": batch_size,
            "seconds": timing.median,
            "spread": timing.spread,
            "compile_seconds": timing.first - timing.median,
            "cost": timing.median / timings["plain"].median,
        }
        for name, timing in timings.items()
    ]


def _random_batch(config: ExperimentConfig, size: int) -> dict[str, np.ndarray]:
    """Random batch with texts of full length, and answers 0 and 1."""
    random, shapes = np.random.default_rng(config.seed), abstract_batch(config, size)
    highest = {"image": 256, "text_ids": config.model.vocab_size, "label": 2}
    filled = {name: np.ones(leaf.shape, leaf.dtype) for name, leaf in shapes.items()}
    drawn = {
        name: random.integers(0, high, shapes[name].shape).astype(shapes[name].dtype)
        for name, high in highest.items()
    }
    return filled | drawn
