"""A model as a sequence of stages over a state of Tokens; calling it folds over them.

A `Segment` never trims; a `Run` is a stretch of equal layers, each of which first decides what it closes and then
computes: between the two an executor may do as it likes with the closed tokens.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

from smarttrim_jax.nn.folding import Remat, fold
from smarttrim_jax.nn.regularization import split_key
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.gates import Gates, Trim

State = dict[str, Tokens]
GatesByRun = dict[str, Gates]


@dataclasses.dataclass(frozen=True)
class Segment:
    """A stage that trims nothing.

    Attributes:
        name: of the stage.
        apply: from state to state.
    """

    name: str
    apply: Callable[[State], State]

    def __call__(self, state: State, trim: Trim | None, key: jax.Array | None) -> tuple[State, GatesByRun]:
        """The next state, and no gates."""
        return self.apply(state), {}


@dataclasses.dataclass(frozen=True)
class Run:
    """A stage of equal layers that trim between them.

    Attributes:
        name: of the stage.
        sides: which tokens of the state it changes.
        decide: what one layer closes: (trimmers or None, state, trim, key) to (state, gates).
        compute: the layer itself: (layers, state, gates, key, **inputs) to state; the same key as `decide`.
        layers: the stacked layers, a module or a dict of them.
        trimmers: the stacked trimmers of the layers from `first_layer` on, or None.
        depth: number of layers.
        first_layer: the first layer that trims.
        inputs: further arguments of `compute`, with a leading axis of layers.
        scan: fold with `lax.scan`.
        remat: what the backward pass recomputes.
    """

    name: str
    sides: tuple[str, ...]
    decide: Callable[..., tuple[State, GatesByRun]]
    compute: Callable[..., State]
    layers: Any
    trimmers: Any
    depth: int
    first_layer: int = 0
    inputs: dict[str, Array] = dataclasses.field(default_factory=dict)
    scan: bool = False
    remat: Remat = "none"

    def __call__(self, state: State, trim: Trim | None, key: jax.Array | None) -> tuple[State, GatesByRun]:
        """The state after the last layer, and the gates of all layers; `trim` None keeps everything."""
        keys = None if key is None else jax.random.split(key, self.depth)
        mode = Trim() if trim is None else trim

        def step(layer: Any, trimmers: Any, state: State, inputs: Any) -> tuple[State, GatesByRun]:
            layer_key, more = inputs
            state, gates = self.decide(trimmers, state, mode, layer_key)
            return self.compute(layer, state, gates, layer_key, **more), gates

        with jax.named_scope(self.name):
            return fold(
                step,
                state,
                self.layers,
                (keys, self.inputs),
                depth=self.depth,
                late=None if trim is None else self.trimmers,
                first=self.first_layer,
                scan=self.scan,
                remat=self.remat,
            )


def fold_stages(
    stages: list[Segment | Run], state: State, trim: Trim | None, key: jax.Array | None
) -> tuple[State, GatesByRun]:
    """Runs all stages: the padded execution, and the reference of every other."""
    gates: GatesByRun = {}
    for stage, stage_key in zip(stages, split_key(key, len(stages)), strict=True):
        state, more = stage(state, trim, stage_key)
        gates |= more
    return state, gates
