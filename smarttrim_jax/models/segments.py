"""A model as a sequence of stages over a state of Tokens; calling it folds over them.

A `Segment` never trims; a `Run` is a stretch of equal layers, each of which first decides what it closes and then
computes: between the two an executor may do as it likes with the closed tokens.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from smarttrim_jax.nn.folding import Remat, fold
from smarttrim_jax.nn.partition import split_examples
from smarttrim_jax.nn.regularization import split_key
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.gates import Gates, Trim

State = dict[str, Tokens]
GatesByRun = dict[str, Gates]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prefix:
    """What a model computes before anything can be trimmed: a full pass and a trimmed one may share it.

    Attributes:
        state: behind the embeddings and the untrimmed first layers of each encoder.
        gates: of these layers, by the name of the run.
    """

    state: State
    gates: dict[str, GatesByRun] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Segment:
    """A stage that trims nothing.

    Attributes:
        name: of the stage.
        apply: from state to state.
    """

    name: str
    apply: Callable[[State], State]


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

    def prefix(self, state: State, key: jax.Array | None) -> tuple[State, GatesByRun]:
        """The state behind the layers without trimmers that come first, and their gates, if there are any."""
        layers = self.depth if self.trimmers is None else self.first_layer
        return self._fold(state, None, key, 0, layers) if layers else (state, {})

    def __call__(
        self, state: State, trim: Trim | None, key: jax.Array | None, *, done: GatesByRun | None = None
    ) -> tuple[State, GatesByRun]:
        """The state after the last layer, and the gates of all layers.

        Args:
            state: before the first layer; behind those of `prefix`, if they are done.
            trim: None keeps everything.
            key: None for evaluation.
            done: what `prefix` gave.
        """
        if not done:
            return self._fold(state, trim, key, 0, self.depth)
        layers = len(next(iter(done.values())).tokens)
        if layers == self.depth:
            return state, done
        state, gates = self._fold(state, trim, key, layers, self.depth)
        return state, jax.tree.map(lambda *parts: jnp.concatenate(parts), done, gates)

    def _fold(
        self, state: State, trim: Trim | None, key: jax.Array | None, start: int, stop: int
    ) -> tuple[State, GatesByRun]:
        """The layers from `start` to `stop`."""
        keys = None if key is None else jax.random.split(key, self.depth)
        mode = Trim() if trim is None else trim

        def step(layer: Any, trimmers: Any, state: State, inputs: Any) -> tuple[State, GatesByRun]:
            layer_key, more = inputs
            state, gates = self.decide(trimmers, state, mode, layer_key)
            return split_examples(self.compute(layer, state, gates, layer_key, **more)), gates

        with jax.named_scope(self.name):
            return fold(
                step,
                state,
                self.layers,
                (keys, self.inputs),
                depth=self.depth,
                late=None if trim is None else self.trimmers,
                first=self.first_layer,
                start=start,
                stop=stop,
                scan=self.scan,
                remat=self.remat,
            )


def fold_stages(
    stages: list[Segment | Run],
    state: State,
    trim: Trim | None,
    key: jax.Array | None,
    *,
    done: dict[str, GatesByRun] | None = None,
) -> tuple[State, GatesByRun]:
    """Runs all stages: the padded execution, and the reference of every other.

    Args:
        stages: in order.
        state: before the first.
        trim: how the trimmers decide; None runs at full capacity.
        key: None for evaluation.
        done: the gates of a `Prefix`, if the state is its state.
    """
    gates: GatesByRun = {}
    for stage, stage_key in zip(stages, split_key(key, len(stages)), strict=True):
        state = split_examples(state)
        if isinstance(stage, Segment):
            state = stage.apply(state)
        else:
            state, more = stage(state, trim, stage_key, done=(done or {}).get(stage.name))
            gates |= more
    return state, gates


def fold_prefix(stages: list[Segment | Run], state: State, key: jax.Array | None) -> Prefix:
    """Runs what comes before any trimming, with the random numbers that `fold_stages` would draw for it.

    Args:
        stages: in order; those before the first `Segment` read no side but their own.
        state: the embeddings.
        key: None for evaluation.
    """
    gates: dict[str, GatesByRun] = {}
    for stage, stage_key in zip(stages, split_key(key, len(stages)), strict=True):
        if isinstance(stage, Segment):
            break
        state, gates[stage.name] = stage.prefix(split_examples(state), stage_key)
    return Prefix(state, gates)
