"""A pass in which every token that a layer closes gets other values at the layer that closes it."""

import dataclasses
from typing import Any

import jax

from smarttrim_jax.models.segments import Run, fold_stages
from smarttrim_jax.trimming.gates import Trim


def poisoned_pass(model: Any, batch: tuple[Any, ...], trim: Trim, amount: jax.Array) -> Any:
    """The output of a bound model, `amount` added to what closes."""

    def poisoned(decide: Any) -> Any:
        def poison(trimmers: Any, state: Any, trim: Trim, key: Any) -> Any:
            state, gates = decide(trimmers, state, trim, key)
            spoilt = {
                side: tokens.replace(tokens.values + amount * (1 - tokens.gate[..., None]))
                for side, tokens in state.items()
            }
            return spoilt, gates

        return poison

    state = model.embed(*batch)
    present = {side: tokens.gate for side, tokens in state.items()}
    stages = [
        dataclasses.replace(stage, decide=poisoned(stage.decide)) if isinstance(stage, Run) else stage
        for stage in model.stages
    ]
    state, gates = fold_stages(stages, state, trim, None)
    return model.read_out(state, gates, present)
