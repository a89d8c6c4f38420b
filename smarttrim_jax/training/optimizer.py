"""AdamW with METER's parameter groups, weight-decay rule and schedules, composed from optax."""

import re
from collections.abc import Callable
from typing import Any

import jax
import optax

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import OptimizerConfig
from smarttrim_jax.tree_paths import map_with_names

# METER spares biases and the BERT-style norms; here no norm's scale decays. Embeddings do, as in METER.
NO_DECAY = r"(^|/)(bias|scale)$"


def learning_rate(config: OptimizerConfig, total_steps: int) -> optax.Schedule:
    """The backbone's learning rate as a function of the training step.

    Args:
        config: peak rate, warm-up and schedule.
        total_steps: steps of the whole run, counted in batches (not in accumulated updates).
    """
    warmup = round(config.warmup_fraction * total_steps)
    remaining = max(total_steps - warmup, 1)
    peak = config.learning_rate
    course = {
        "linear": optax.linear_schedule(peak, 0.0, remaining),
        "cosine": optax.cosine_decay_schedule(peak, remaining),
        "constant": optax.constant_schedule(peak),
    }[config.schedule]
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), course], [warmup])


def make_optimizer(
    config: OptimizerConfig, params: Any, total_steps: int, group_of: Callable[[str], str]
) -> optax.GradientTransformation:
    """AdamW whose updates and weight decay follow each parameter group's own rate.

    Args:
        config: the optimizer's settings.
        params: nested dict of arrays, or of their shapes.
        total_steps: steps of the whole run, counted in batches; a multiple of `config.accumulate`.
        group_of: The group of a parameter by its "/"-joined path (`ModelConfig.parameter_group`).

    Returns:
        A transformation to be used with `optax.apply_updates`.

    Raises:
        ConfigError: `total_steps` would leave gradients that reach no update.
    """
    if total_steps < 1 or total_steps % config.accumulate:
        raise ConfigError(
            f"total_steps is {total_steps}; take a multiple of accumulate, which is {config.accumulate}"
        )
    rate = learning_rate(config, total_steps)
    decayed = map_with_names(lambda name, _: not re.search(NO_DECAY, name), params)
    # As torch's AdamW with parameter groups: moments first, then decay, then the group's rate on both.
    chain = [
        optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps),
        optax.add_decayed_weights(config.weight_decay, mask=decayed),
        optax.scale_by_learning_rate(lambda update: rate(update * config.accumulate)),
        _scale_groups(config, params, group_of),
    ]
    if config.clip_norm:
        chain.insert(0, optax.clip_by_global_norm(config.clip_norm))
    optimizer = optax.chain(*chain)
    if config.accumulate == 1:
        return optimizer
    return optax.MultiSteps(optimizer, config.accumulate).gradient_transformation()


def _scale_groups(
    config: OptimizerConfig, params: Any, group_of: Callable[[str], str]
) -> optax.GradientTransformation:
    """Multiplies each update by its group's multiplier; groups at 1 cost nothing."""
    multipliers = {
        "trimmer": config.trimmer,
        "head": config.head,
        "cross_modal": config.cross_modal,
        "backbone": 1.0,
    }
    factors = map_with_names(lambda name, _: multipliers[group_of(name)], params)

    def scale(updates: Any, _: Any) -> Any:
        return jax.tree.map(lambda u, factor: u if factor == 1 else u * factor, updates, factors)

    return optax.stateless(scale)
