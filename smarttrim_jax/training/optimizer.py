"""AdamW with METER's parameter groups, weight-decay rule and schedules, composed from optax."""

import re
from collections.abc import Callable
from typing import Any

import jax
import optax

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import OptimizerConfig
from smarttrim_jax.tree_paths import map_with_names

# METER exempts biases and the BERT-style norms from decay; here all norms are exempt. Embeddings decay, as in METER.
NO_DECAY = r"(^|/)(bias|scale)$"


def learning_rate(config: OptimizerConfig, total_steps: int) -> optax.Schedule:
    """Builds the schedule of the backbone's learning rate: linear warm-up, then the configured course.

    Args:
        config: Settings with peak rate, warm-up and schedule.
        total_steps: Steps of the whole run, counted in batches (not in accumulated updates).

    Returns:
        The learning rate as a function of the training step.
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
    """Builds AdamW whose updates and weight decay are scaled by each parameter group's multiplier.

    Args:
        config: Settings of the optimizer.
        params: Nested dict of arrays, or of their shapes.
        total_steps: Steps of the whole run, counted in batches; a multiple of `config.accumulate`.
        group_of: Returns the group of a parameter from its "/"-joined path (`ModelConfig.parameter_group`).

    Returns:
        A gradient transformation to be used with `optax.apply_updates`.

    Raises:
        ConfigError: `total_steps` is no positive multiple of `config.accumulate`, so the last gradients would reach
            no update.
    """
    if total_steps < 1 or total_steps % config.accumulate:
        raise ConfigError(
            f"total_steps is {total_steps}; take a multiple of accumulate, which is {config.accumulate}"
        )
    rate = learning_rate(config, total_steps)
    decayed = map_with_names(lambda name, _: not re.search(NO_DECAY, name), params)
    # The order of PyTorch's AdamW with parameter groups: moments, then decay, then the group's rate on both.
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
    """Multiplies each update by its group's multiplier; groups whose multiplier is 1 cost nothing."""
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
