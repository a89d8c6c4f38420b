"""A pass in which every token that a layer closes gets other values at the layer that closes it."""

import dataclasses
from typing import Any

import jax

from smarttrim_jax.models.segments import LayerRun, fold_stages
from smarttrim_jax.trimming.gates import Trim


def poisoned_pass(model: Any, batch: tuple[Any, ...], trim: Trim, amount: jax.Array) -> Any:
    """The output of a bound model, `amount` added to what closes."""

    def poisoned(compute: Any) -> Any:
        def poison(layers: Any, state: Any, *others: Any, **inputs: Any) -> Any:
            spoilt = {
                side: tokens.replace(tokens.values + amount * (1 - tokens.gate[..., None]))
                for side, tokens in state.items()
            }
            return compute(layers, spoilt, *others, **inputs)

        return poison

    stages = [
        dataclasses.replace(stage, compute=poisoned(stage.compute)) if isinstance(stage, LayerRun) else stage
        for stage in model.stages
    ]
    return model.read_out(*fold_stages(stages, model.start(*batch), trim, None))
