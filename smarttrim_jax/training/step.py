"""The pure training steps: plain fine-tuning, and trim-tuning with the model's own full pass as teacher."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.models.output import Output
from smarttrim_jax.objectives.total import task_terms, total_loss
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.training.forward import Batch, correct, forward
from smarttrim_jax.trimming.cost import cost_loss, initial_multiplier, macs_ratio, misses, update_multiplier
from smarttrim_jax.trimming.curriculum import noise_level, target_ratio
from smarttrim_jax.trimming.gates import Trim

State = dict[str, Any]
Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Steps:
    """The steps of one experiment, as pure functions of `(state, batch)`.

    Attributes:
        config: of the run, with its sizes fitted to the data.
        optimizer: as `training.optimizer` makes it.
    """

    config: ExperimentConfig
    optimizer: optax.GradientTransformation

    @property
    def model(self) -> Functional:
        """The model's pure functions."""
        return Functional(self.config.model)

    def initial_state(self, params: Params) -> State:
        """The state before the first step: parameters, optimizer, step counter, cost multiplier."""
        return {
            "params": params,
            "opt_state": self.optimizer.init(params),
            "step": jnp.zeros((), jnp.int32),
            "multiplier": initial_multiplier(self.config.cost),
        }

    def full(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        """One step of plain fine-tuning at full capacity."""

        def loss(params: Params) -> tuple[jax.Array, Metrics]:
            full = forward(self.config, params, batch, key=self._key(state, 0))
            terms = task_terms(self.config.objective, batch["label"], batch["weight"], full=self._logits(full))
            return total_loss(terms), terms | {"accuracy": self._accuracy(full, batch)}

        (total, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state["params"])
        return self._update(state, gradients, state["multiplier"], metrics | {"loss": total})

    def trim(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        """One step of trim-tuning: full and trimmed pass, distillation between them, and the cost."""
        config = self.config
        done = state["step"] - config.schedule.full_steps
        target = target_ratio(config.curriculum, config.cost.target_speedup, done, config.schedule.trim_steps)
        noise = noise_level(config.curriculum, done, config.schedule.trim_steps)

        def loss(params: Params) -> tuple[jax.Array, tuple[Metrics, jax.Array]]:
            full = forward(self.config, params, batch, key=self._key(state, 0))
            mode = Trim(temperature=config.temperature, noise=noise)
            trimmed = forward(config, params, batch, trim=mode, key=self._key(state, 1))
            record = trimmed.record
            ratio = macs_ratio(self.model.macs(record), self.model.macs(record.opened(), trimmed=False))
            miss = misses(config.cost, record, ratio, target)
            terms = task_terms(
                config.objective, batch["label"], batch["weight"], self._logits(full), self._logits(trimmed)
            )
            terms["cost"] = cost_loss(config.cost, miss, state["multiplier"])
            metrics = terms | {
                "accuracy": self._accuracy(trimmed, batch),
                "macs_ratio": ratio,
                "target_ratio": target,
            }
            return total_loss(terms), (metrics, miss)

        (total, (metrics, miss)), gradients = jax.value_and_grad(loss, has_aux=True)(state["params"])
        multiplier = update_multiplier(config.cost, state["multiplier"], miss)
        metrics |= {"loss": total, "multiplier": jnp.max(multiplier)}
        return self._update(state, gradients, multiplier, metrics)

    def _key(self, state: State, number: int) -> jax.Array:
        """A pure function of seed and step, so that a resumed run draws what the unbroken one would."""
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(self.config.seed), state["step"]), number)

    def _logits(self, output: Output) -> jax.Array:
        return output.logits[self.config.task]

    def _accuracy(self, output: Output, batch: Batch) -> jax.Array:
        return jnp.mean(correct(self.config, output.logits, batch))

    def _update(
        self, state: State, gradients: Params, multiplier: jax.Array, metrics: Metrics
    ) -> tuple[State, Metrics]:
        updates, opt_state = self.optimizer.update(gradients, state["opt_state"], state["params"])
        new = {
            "params": optax.apply_updates(state["params"], updates),
            "opt_state": opt_state,
            "step": state["step"] + 1,
            "multiplier": multiplier,
        }
        return new, metrics | {"gradient_norm": optax.tree.norm(gradients)}
