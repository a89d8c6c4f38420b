"""A model as a sequence of stages over a state of tokens; a call folds the state over them.

A `Segment` never trims. A `LayerRun` is a stretch of equal layers, each of which first decides what it closes and
then computes. Between these two steps an execution is free to remove closed tokens from memory.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer

from smarttrim_jax.nn.layer_stack import Remat, fold
from smarttrim_jax.nn.primitives import split_key
from smarttrim_jax.sharding import split_examples
from smarttrim_jax.tokens import Tokens, shorten
from smarttrim_jax.trimming.capacity import CapacityConfig
from smarttrim_jax.trimming.gates import ByGateKey, GateKey, GatesByKey, Trim, TrimRecord, open_gates
from smarttrim_jax.trimming.policies import LayerContext

State = dict[str, Tokens]
"""The tokens of each side of a model, by the side's name."""

Present = dict[str, Float[Array, "_ _"]]
"""For each side, 1 for tokens that are no padding."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ExampleInfo:
    """What a decision may know of a batch's examples beside their tokens. It does not depend on the execution.

    Attributes:
        present: For each side, `[rows, tokens]`, 1 for tokens that are no padding.
        seed: `[batch]`, a number that depends on each example's own inputs; None unless a policy draws at random.
    """

    present: Present
    seed: Integer[Array, " batch"] | None = None

    def replace(self, present: Present) -> "ExampleInfo":
        """Replaces `present` after a stage that changed the sides or their rows.

        Args:
            present: For each side, `[rows, tokens]`, 1 for tokens that are no padding.

        Returns:
            The same examples with this `present`.
        """
        return dataclasses.replace(self, present=present)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prefix:
    """The part of a pass before anything is trimmed, which a full pass and a trimmed one may share.

    Attributes:
        state: The tokens after the embeddings and the untrimmed first layers of each encoder.
        examples: What decisions may know of the examples.
        gates: The gates of these first layers, by the name of the run.
    """

    state: State
    examples: ExampleInfo
    gates: dict[str, GatesByKey] = dataclasses.field(default_factory=dict)


def begin(state: State, *, present: Present | None = None, seed: Integer[Array, " batch"] | None = None) -> Prefix:
    """Makes the beginning of a pass, before any stage.

    Args:
        state: The tokens before the first stage.
        present: 1 for tokens that are no padding, for sides that have closed tokens already. For other sides the gate
            itself tells padding from tokens; None means that all are such sides.
        seed: `[batch]`, a number that depends on each example's own inputs; None unless a policy draws at random.

    Returns:
        The start of `fold_stages` and `fold_prefix`.
    """
    open_at_first = {side: tokens.padded_gate for side, tokens in state.items()}
    return Prefix(state, ExampleInfo(open_at_first | (present or {}), seed))


def _unchanged(present: Present) -> Present:
    return present


@dataclasses.dataclass(frozen=True)
class Segment:
    """A stage that trims nothing.

    Attributes:
        name: The stage's name.
        apply: Function from state to state.
        present: Function that updates `ExampleInfo.present`, for a stage that changes the sides or their rows.
    """

    name: str
    apply: Callable[[State], State]
    present: Callable[[Present], Present] = _unchanged


@dataclasses.dataclass(frozen=True)
class RunSide:
    """One side of the state in a run of layers.

    Attributes:
        name: The side's name.
        heads: Heads of each of its attention modules; 0 for a side that the layers only read.
        others: The sides whose global tokens its policy may look at. For a side with heads these are the sides that
            it reads by cross-attention, one module each.
    """

    name: str
    heads: int
    others: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class LayerRun:
    """A stage of equal layers that trim between them.

    Attributes:
        name: The stage's name.
        sides: The sides of the state that the stage reads, changes or trims.
        compute: Function that computes one layer: (layers, state, gates, key, **inputs) to state.
        layers: The stacked layers, by the side that they change.
        policies: The stacked policies of the layers from `first_layer` on, by the side that they decide about.
        depth: The number of layers.
        first_layer: Index of the first layer that trims.
        inputs: Further arguments of `compute`, with a leading axis of layers.
        scan: Whether to run the layers by `lax.scan`.
        remat: What the backward pass recomputes.
    """

    name: str
    sides: tuple[RunSide, ...]
    compute: Callable[..., State]
    layers: dict[str, Any]
    policies: dict[str, Any]
    depth: int
    first_layer: int = 0
    inputs: dict[str, Array] = dataclasses.field(default_factory=dict)
    scan: bool = False
    remat: Remat = "none"

    @property
    def side_names(self) -> tuple[str, ...]:
        """The names of the run's sides."""
        return tuple(side.name for side in self.sides)

    @property
    def layers_before_trimming(self) -> int:
        """The number of first layers that have no trimmers."""
        return self.first_layer if self.policies else self.depth

    @property
    def reads_layers(self) -> bool:
        """Whether a policy's decisions need the layer's own modules."""
        return any(policy.reads_layer for policy in self.policies.values())

    def key(self, side: str) -> GateKey:
        """Returns the key of the gates that the run decides about a side.

        Args:
            side: Name of the side.

        Returns:
            The key.
        """
        return GateKey(self.name, side)

    def decide(
        self,
        policies: dict[str, Any] | None,
        layers: dict[str, Any],
        index: Int[Array, ""] | int,
        state: State,
        examples: ExampleInfo,
        trim: Trim,
        key: jax.Array | None,
    ) -> tuple[State, GatesByKey]:
        """Decides what one layer closes on each side, from the global tokens of the other sides before the layer.

        Args:
            policies: The layer's policies by side; None where the layer keeps everything.
            layers: The layer's modules, by the side that they change.
            index: The layer's index in the run.
            state: The tokens before the layer.
            examples: What decisions may know of the examples.
            trim: How to decide.
            key: Random key of the layer in training; None for evaluation.

        Returns:
            The state with more tokens closed, and the layer's gates.
        """
        opened = dict(state)
        gates: GatesByKey = ByGateKey()
        for side, side_key in zip(self.sides, self._split(key)[:-1], strict=True):
            tokens = state[side.name]
            policy = (policies or {}).get(side.name)
            if policy is None:
                gates[self.key(side.name)] = open_gates(tokens, side.heads, sources=len(side.others))
                continue
            context = LayerContext(
                others=tuple(state[other].global_token for other in side.others),
                present=examples.present[side.name],
                seed=None if examples.seed is None else _row_seeds(examples.seed, tokens.shape[0]),
                layer=layers.get(side.name) if policy.reads_layer else None,
                index=index,
            )
            opened[side.name], gates[self.key(side.name)] = policy(
                tokens=tokens, context=context, trim=trim, key=side_key
            )
        return opened, gates

    def advance(
        self,
        layers: dict[str, Any],
        state: State,
        gates: GatesByKey,
        key: jax.Array | None,
        inputs: dict[str, Array],
    ) -> State:
        """Computes one layer.

        Args:
            layers: The layer's modules, by the side that they change.
            state: The tokens that `decide` returned.
            gates: The gates that `decide` returned.
            key: The key that `decide` was called with.
            inputs: The layer's further arguments of `compute`.

        Returns:
            The tokens after the layer.
        """
        return self.compute(layers, state, gates, self._split(key)[-1], **inputs)

    def _split(self, key: jax.Array | None) -> list[Any]:
        """Splits a key into one for the decision about each side and one for the layer."""
        return list(split_key(key, len(self.sides) + 1))

    def prefix(self, state: State, examples: ExampleInfo, key: jax.Array | None) -> tuple[State, GatesByKey]:
        """Runs the first layers, which have no trimmers.

        Args:
            state: The tokens before the first layer.
            examples: What decisions may know of the examples.
            key: Random key of training; None for evaluation.

        Returns:
            The state after these layers, and their gates; the state as it is and an empty dict if there are no such
            layers.
        """
        layers = self.layers_before_trimming
        return self._fold(state, examples, None, key, 0, layers) if layers else (state, {})

    def __call__(
        self,
        state: State,
        examples: ExampleInfo,
        trim: Trim | None,
        key: jax.Array | None,
        *,
        done: GatesByKey | None = None,
    ) -> tuple[State, GatesByKey]:
        """Runs all layers, or those that `prefix` left.

        In training, an encoder may remove closed tokens from memory between two layers; see `Trim.capacity`.

        Args:
            state: The tokens before the first layer, or after the layers of `prefix`.
            examples: What decisions may know of the examples.
            trim: How the trimmers decide; None keeps everything.
            key: Random key of training; None for evaluation.
            done: The gates that `prefix` returned; None if it did not run.

        Returns:
            The state after the last layer, and the gates of all layers.
        """
        start = 0
        parts = []
        if done:
            start = len(next(iter(done.values())).tokens)
            parts.append(done)
        if trim is not None and key is not None:
            leave = trim.capacity.layer(self.name, self.depth)
            if start <= leave < self.depth:
                if start < leave:
                    state, gates = self._fold(state, examples, trim, key, start, leave)
                    parts.append(gates)
                state = self._shorten(state, examples, trim.capacity, jax.random.fold_in(key, self.depth))
                start = leave
        if start < self.depth:
            state, gates = self._fold(state, examples, trim, key, start, self.depth)
            parts.append(gates)
        return state, jax.tree.map(lambda *parts: jnp.concatenate(parts), *parts)

    def _shorten(self, state: State, examples: ExampleInfo, capacity: CapacityConfig, key: jax.Array) -> State:
        """Removes closed tokens of an encoder's state from memory."""
        present = examples.present[self.name]
        places = capacity.places(self.name, present.shape[1])
        return state | {self.name: shorten(state[self.name], present, places, key)}

    def _fold(
        self,
        state: State,
        examples: ExampleInfo,
        trim: Trim | None,
        key: jax.Array | None,
        start: int,
        stop: int,
    ) -> tuple[State, GatesByKey]:
        """Runs the layers from `start` to before `stop`."""
        keys = None if key is None else jax.random.split(key, self.depth)
        mode = Trim() if trim is None else trim

        def step(layers: Any, policies: Any, state: State, inputs: Any) -> tuple[State, GatesByKey]:
            layer_key, index, more = inputs
            state, gates = self.decide(policies, layers, index, state, examples, mode, layer_key)
            return split_examples(self.advance(layers, state, gates, layer_key, more)), gates

        with jax.named_scope(self.name):
            return fold(
                step,
                state,
                self.layers,
                (keys, jnp.arange(self.depth), self.inputs),
                depth=self.depth,
                late=self.policies if trim is not None and self.policies else None,
                first=self.first_layer,
                start=start,
                stop=stop,
                scan=self.scan,
                remat=self.remat,
            )


def _row_seeds(seed: Integer[Array, " batch"], rows: int) -> Integer[Array, " rows"]:
    """A seed for each row of a side: the example's own, plus the image's index where an example has several rows."""
    times = rows // seed.shape[0]
    images = jnp.tile(jnp.arange(times, dtype=seed.dtype), seed.shape[0])
    return jnp.repeat(seed, times) + images


Stages = Sequence[Segment | LayerRun]


def fold_stages(stages: Stages, prefix: Prefix, trim: Trim | None, key: jax.Array | None) -> tuple[State, TrimRecord]:
    """Runs all stages on padded tokens; this is the reference for the other executions.

    Args:
        stages: The stages in order.
        prefix: Result of the stages that already ran; without gates, the state before the first stage.
        trim: How the trimmers decide; None runs at full capacity.
        key: Random key of training; None for evaluation.

    Returns:
        The state after the last stage, and all gates.
    """
    state = prefix.state
    examples = prefix.examples
    record = TrimRecord()
    for stage, stage_key in zip(stages, split_key(key, len(stages)), strict=True):
        state = split_examples(state)
        if isinstance(stage, Segment):
            state = stage.apply(state)
            examples = examples.replace(stage.present(examples.present))
        else:
            state, gates = stage(state, examples, trim, stage_key, done=prefix.gates.get(stage.name))
            record |= make_record(gates, examples)
    return state, record


def make_record(gates: GatesByKey, examples: ExampleInfo) -> TrimRecord:
    """Makes the record of a run.

    Args:
        gates: The gates of the run.
        examples: What was known of the examples where the run began.

    Returns:
        The gates, each with the tokens that are no padding.
    """
    return TrimRecord(gates, {key: examples.present[key.side] for key in gates})


def fold_prefix(stages: Stages, prefix: Prefix, key: jax.Array | None) -> Prefix:
    """Runs the layers before any trimming, with the random numbers that `fold_stages` would draw for them.

    Args:
        stages: The stages in order. What follows a `Segment`, or reads or changes a side whose layers are not all run
            yet, is left for the pass itself.
        prefix: The embeddings.
        key: Random key of training; None for evaluation.

    Returns:
        The part of the pass that a full pass and a trimmed one share.
    """
    state = prefix.state
    gates: dict[str, GatesByKey] = {}
    unfinished: set[str] = set()  # sides with layers that are left
    for stage, stage_key in zip(stages, split_key(key, len(stages)), strict=True):
        if isinstance(stage, Segment):
            break
        if unfinished.isdisjoint(stage.side_names):
            state, gates[stage.name] = stage.prefix(split_examples(state), prefix.examples, stage_key)
        if stage.name not in gates or stage.layers_before_trimming < stage.depth:
            unfinished.update(stage.side_names)
    return Prefix(state, prefix.examples, gates)
