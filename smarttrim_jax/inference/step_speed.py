"""What a step of trim-tuning costs, against one of plain fine-tuning."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.inference.measurement import time_by_turns
from smarttrim_jax.inference.speed import Row
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.training.optimizer import make_optimizer
from smarttrim_jax.training.sharding import make_mesh, place_batch, state_shardings
from smarttrim_jax.training.step import Steps, jit_step
from smarttrim_jax.training.without_data import abstract_batch, task_without_data


def measure_steps(config: ExperimentConfig, batch_sizes: Sequence[int], repeats: int) -> Iterator[Row]:
    """A run's steps on random images and texts of full length, timed by turns on the config's mesh.

    Args:
        config: of the run, every size given.
        batch_sizes: examples over all devices.
        repeats: timed steps of each kind.

    Yields:
        Rows with `step` ("plain", "trim", and "shortened" where the config has a capacity), `batch_size`, `seconds`
        (median), `spread` (quartiles over the median), `compile_seconds`, and `cost`, its seconds over the plain
        step's.

    Raises:
        ConfigError: a model without trimmers, sizes that are left to the data, or a mesh that does not fit.
    """
    if config.model.trimming is None:
        raise ConfigError("the config's model has no trimmers (model.trimming is None)")
    task, mesh = task_without_data(config), make_mesh(config.mesh)
    abstract = jax.eval_shape(task.model.init, jax.random.key(config.seed))
    steps = Steps(task, make_optimizer(config.optimizer, abstract, config.schedule.total_steps))
    shardings = state_shardings(jax.eval_shape(steps.initial_state, abstract), mesh)
    compared = {"plain": steps.full, "trim": steps.trim}
    if config.capacity.sides:
        compared["shortened"] = steps.trim_shortened
    begin = jax.jit(lambda key: steps.initial_state(task.model.init(key)), out_shardings=shardings)
    for batch_size in batch_sizes:
        batch = place_batch(_random_batch(config, batch_size), mesh)

        def repeated(step: Any, batch: Any = batch) -> Callable[[], Any]:
            program, states = jit_step(step, shardings), [begin(jax.random.key(config.seed))]

            def run() -> Any:
                state, metrics = program(states.pop(), batch)
                states.append(state)
                return metrics

            return run

        with jax.set_mesh(mesh):
            timings = time_by_turns({name: repeated(step) for name, step in compared.items()}, repeats)
        for name, timing in timings.items():
            yield {
                "step": name,
                "batch_size": batch_size,
                "seconds": timing.median,
                "spread": timing.spread,
                "compile_seconds": timing.first - timing.median,
                "cost": timing.median / timings["plain"].median,
            }


def _random_batch(config: ExperimentConfig, size: int) -> dict[str, np.ndarray]:
    """Texts of full length, and answers 0 and 1."""
    random, shapes = np.random.default_rng(config.seed), abstract_batch(config, size)
    highest = {"image": 256, "text_ids": config.model.text.vocab_size, "label": 2}
    filled = {name: np.ones(leaf.shape, leaf.dtype) for name, leaf in shapes.items()}
    drawn = {
        name: random.integers(0, high, shapes[name].shape).astype(shapes[name].dtype)
        for name, high in highest.items()
    }
    return filled | drawn
