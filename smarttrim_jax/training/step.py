"""Pure training steps: plain fine-tuning, and trim-tuning with the model's own full pass as teacher."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.functional import Params
from smarttrim_jax.objectives.total import total_loss, weighted_terms
from smarttrim_jax.tasks import Task
from smarttrim_jax.tasks.base import Batch
from smarttrim_jax.training.optimizer import make_optimizer
from smarttrim_jax.trimming.capacity import CapacityConfig, remembered
from smarttrim_jax.trimming.cost import FIRST_OFFSET, cost_loss, initial_multiplier, misses, steer, update_multiplier
from smarttrim_jax.trimming.curriculum import noise_level, target_ratio
from smarttrim_jax.trimming.gates import Trim, TrimRecord

TrainState = dict[str, Any]
Metrics = dict[str, jax.Array]
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def jit_step(step: Step, shardings: Any) -> jax.stages.Wrapped:
    """Compiles a step as a program that donates its state to the next one.

    Args:
        step: One of the steps of `Steps`.
        shardings: Sharding of every array of the state.

    Returns:
        The jitted step: (state, batch) to (state, metrics).
    """
    device = jax.tree.leaves(shardings)[0].mesh.devices.flat[0]
    # Without this option every device of a TPU draws and holds the random numbers of all devices.
    options = {"xla_tpu_spmd_rng_bit_generator_unsafe": True} if device.platform == "tpu" else None
    return jax.jit(step, donate_argnums=0, out_shardings=(shardings, None), compiler_options=options)


@dataclasses.dataclass(frozen=True)
class Steps:
    """The steps of one experiment, as pure functions of `(state, batch)`.

    Attributes:
        task: Task that is trained.
        optimizer: Gradient transformation; see `training.optimizer.make_optimizer`.
        capacity: How many tokens the trimmed pass of `trim_shortened` holds.
    """

    task: Task
    optimizer: optax.GradientTransformation
    capacity: CapacityConfig = CapacityConfig()

    @classmethod
    def of(cls, task: Task, params: Any) -> "Steps":
        """Creates the steps of a task with the optimizer that its configuration asks for.

        Args:
            task: Task that is trained.
            params: The model's parameters, or their shapes.

        Returns:
            The steps.
        """
        config = task.config
        groups = config.model.parameter_group
        optimizer = make_optimizer(config.optimizer, params, config.schedule.total_steps, groups)
        return cls(task, optimizer, config.capacity)

    @property
    def config(self) -> ExperimentConfig:
        """Run configuration."""
        return self.task.config

    def initial_state(self, params: Params) -> TrainState:
        """Creates the state before the first step.

        Args:
            params: The model's initial parameters.

        Returns:
            `params`, `opt_state`, `step` (int32 scalar), `multiplier` (of the cost) and the task's own entries;
            where capacity is measured, `needed`: the share of each encoder's tokens that examples need; and for a
            policy that is steered, `offset`: the dial's setting.
        """
        state = {
            "params": params,
            "opt_state": self.optimizer.init(params),
            "step": jnp.zeros((), jnp.int32),
            "multiplier": initial_multiplier(self.config.cost),
            **self.task.initial(params),
        }
        if sides := self.config.measured_sides:
            state["needed"] = {side: jnp.zeros((), jnp.float32) for side in sides}
        trimming = self.config.model.trimming
        if trimming is not None and trimming.policy.is_steered:
            state["offset"] = jnp.asarray(FIRST_OFFSET, jnp.float32)
        return state

    def after(self, done: int) -> Step:
        """Selects the step that follows a number of done steps.

        Args:
            done: Number of steps done.

        Returns:
            `full` in the first phase; then `trim`, or `trim_shortened` once the curriculum stands still and the
            capacity has shares.
        """
        if done < self.config.schedule.full_steps:
            return self.full
        return self.trim_shortened if self.stands_still(done) and self.capacity.sides else self.trim

    def stands_still(self, done: int | jax.Array) -> bool | jax.Array:
        """Tells whether the curriculum has reached its target.

        Args:
            done: Number of steps done; may be traced.

        Returns:
            Whether the target of the step that follows is the last one.
        """
        schedule = self.config.schedule
        return done >= schedule.full_steps + self.config.curriculum.span(schedule.trim_steps)

    def with_measured(self, state: TrainState) -> "Steps":
        """Takes the capacity that the curriculum has measured.

        Args:
            state: A training state after the curriculum. What was measured does not change from there on.

        Returns:
            The same steps with this capacity; with their own if too few steps follow the curriculum.
        """
        total = self.config.schedule.trim_steps
        if total - self.config.curriculum.span(total) < self.capacity.fewest_steps:
            return self
        needed = {side: float(share) for side, share in state.get("needed", {}).items()}
        return dataclasses.replace(self, capacity=self.capacity.with_measured(needed))

    def full(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Takes one step of plain fine-tuning at full capacity.

        Args:
            state: Training state.
            batch: Batch of the data pipeline.

        Returns:
            The next state, and scalars by name: the weighted loss terms, `accuracy`, `loss` and `gradient_norm`.
        """
        task = self.task
        given, carried = task.begin(state, batch)

        def loss(params: Params) -> tuple[jax.Array, Metrics]:
            key = self._key(state, 0)
            full = task.run(params, batch, task.begin_pass(params, batch, key=key), key=key)
            terms = weighted_terms(self.config.objective, full=task.loss(full, batch, given))
            return total_loss(terms), terms | {"accuracy": task.accuracy(full, batch)}

        (total, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state["params"])
        return self._update(state, gradients, carried, metrics | {"loss": total})

    def trim(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Takes one step of trim-tuning: a full and a trimmed pass, distillation between them, and the cost.

        Args:
            state: Training state.
            batch: Batch of the data pipeline.

        Returns:
            The next state, and scalars by name: the weighted loss terms, `accuracy` of the trimmed pass,
            `macs_ratio`, `target_ratio`, `loss`, `multiplier` and `gradient_norm`.
        """
        return self._trim(state, batch, CapacityConfig())

    def trim_shortened(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Takes a step of trim-tuning whose trimmed pass holds fewer tokens, for use once most tokens are closed.

        It equals `trim` in expectation; see `tokens.shortened`.

        Args:
            state: Training state.
            batch: Batch of the data pipeline.

        Returns:
            As `trim`, with a further scalar `overflow`: the share of open tokens that found no place.
        """
        return self._trim(state, batch, self.capacity)

    def _trim(self, state: TrainState, batch: Batch, capacity: CapacityConfig) -> tuple[TrainState, Metrics]:
        task, model, config = self.task, self.task.model, self.config
        done = state["step"] - config.schedule.full_steps
        target = target_ratio(config.curriculum, config.cost.target_speedup, done, config.schedule.trim_steps)
        noise = noise_level(config.curriculum, done, config.schedule.trim_steps)
        given, carried = task.begin(state, batch)

        def loss(params: Params) -> tuple[jax.Array, tuple[Metrics, jax.Array, TrimRecord]]:
            mode = Trim(state.get("offset", 0.0), config.temperature, noise, capacity)
            key = self._key(state, 0)
            begun = task.begin_pass(params, batch, key=key)
            full = task.run(params, batch, begun, key=key)
            trimmed = task.run(params, batch, begun, trim=mode, key=self._key(state, 1), full=full)
            record = trimmed.record
            ratio = model.macs_ratio(record)
            miss = misses(config.cost, record, ratio, target)
            terms = weighted_terms(
                config.objective,
                full=task.loss(full, batch, given),
                trimmed=task.loss(trimmed, batch, given),
                distance=task.distance(full, trimmed, batch, given),
            )
            terms["cost"] = cost_loss(config.cost, miss, state["multiplier"])
            metrics = terms | {
                "accuracy": task.accuracy(trimmed, batch),
                "macs_ratio": ratio,
                "target_ratio": target,
            }
            if capacity.sides:
                metrics["overflow"] = record.overflow(capacity)
            return total_loss(terms), (metrics, miss, record)

        (total, (metrics, miss, record)), gradients = jax.value_and_grad(loss, has_aux=True)(state["params"])
        multiplier = update_multiplier(config.cost, state["multiplier"], miss)
        metrics |= {"loss": total, "multiplier": jnp.max(multiplier)}
        carried |= {"multiplier": multiplier}
        if "offset" in state:
            carried["offset"] = steer(state["offset"], miss, target)
        if "needed" in state and not capacity.sides:
            still = self.stands_still(state["step"])
            carried["needed"] = {
                side: jnp.where(still, before, remembered(before, record.need(side, config.capacity)))
                for side, before in state["needed"].items()
            }
        return self._update(state, gradients, carried, metrics)

    def _key(self, state: TrainState, number: int) -> jax.Array:
        """Random key that depends on seed, step and `number` only: a resumed run draws what an unbroken one would."""
        return jax.random.fold_in(jax.random.fold_in(self.config.random_key, state["step"]), number)

    def _update(
        self, state: TrainState, gradients: Params, carried: TrainState, metrics: Metrics
    ) -> tuple[TrainState, Metrics]:
        updates, opt_state = self.optimizer.update(gradients, state["opt_state"], state["params"])
        new = {
            **state,
            "params": self.task.bounded(optax.apply_updates(state["params"], updates)),
            "opt_state": opt_state,
            "step": state["step"] + 1,
            **carried,
        }
        return new, metrics | {"gradient_norm": optax.tree.norm(gradients)}
