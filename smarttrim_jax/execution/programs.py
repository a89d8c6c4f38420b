"""The stages of a model as jitted functions; programs are cached by jit for every shape they meet."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from smarttrim_jax.execution.open_heads import (
    HEAD_GROUPS,
    HeadIndices,
    NarrowLayer,
    OpenHeads,
    grouped,
    narrow_layer,
    with_heads,
)
from smarttrim_jax.models.base import Output
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.models.segments import ExampleInfo, LayerRun, Prefix, State
from smarttrim_jax.nn.layer_stack import unstack
from smarttrim_jax.trimming.gates import GateKey, Gates, GatesByKey, Trim, TrimRecord

LayerGates = dict[GateKey, list[Gates]]

_unstack = jax.jit(unstack)  # one program, and not one for every array and layer


@dataclasses.dataclass(frozen=True)
class Counts:
    """What the host learns before a layer.

    Attributes:
        tokens: open tokens of the whole batch and of its longest example, by side.
        heads: which heads of the layer any example opens.
    """

    tokens: dict[str, tuple[int, int]]
    heads: OpenHeads


def count(state: State, gates: GatesByKey) -> jax.Array:
    """`Counts` as one line of numbers, for a single transfer."""
    tokens = [state[name].counts for name in sorted(state)]
    numbers = [jnp.stack([jnp.sum(part), jnp.max(part)]) for part in tokens]
    heads = [(jnp.max(opened, axis=0) > 0).astype(jnp.int32) for _, opened in _modules(gates)]
    return jnp.concatenate([*numbers, *heads])


def read_counts(numbers: np.ndarray, state: State, gates: GatesByKey) -> Counts:
    """What `count` wrote about the same state and gates."""
    sides = sorted(state)
    tokens = {name: (int(numbers[2 * i]), int(numbers[2 * i + 1])) for i, name in enumerate(sides)}
    heads, start = {}, 2 * len(sides)
    for key, opened in _modules(gates):
        width = opened.shape[-1]
        heads[key] = numbers[start : start + width] > 0
        start += width
    return Counts(tokens, heads)


def _modules(gates: GatesByKey) -> list[tuple[tuple[GateKey, str], jax.Array]]:
    return [((key, part), opened) for key in sorted(gates) for part, opened in gates[key].modules.items()]


class RunPrograms:
    """A run of equal layers, taken apart.

    Args:
        run: of the model, with its parameters.

    Attributes:
        name: of the run.
        sides: which tokens of the state it changes.
        depth: number of layers.
        first_layer: the first that closes anything.
        narrow_layers: copies of the layers without some heads; see `narrow`.
        compiled: programs made so far.
    """

    def __init__(self, run: LayerRun):
        self.name, self.sides = run.name, run.side_names
        self.depth, self.first_layer = run.depth, run.first_layer if run.policies else run.depth
        self._run = run
        self._layer_def, layers = nnx.split(run.layers)
        self._layers = [store(layer) for layer in _unstack(layers)]
        self.narrow_layers: list[NarrowLayer | None] = [None] * run.depth
        self.compiled = 0
        self._policy_def, policies = nnx.split(run.policies)
        has_parameters = bool(jax.tree.leaves(policies))
        trimming = run.depth - self.first_layer
        self._policies: list[Any] = [None] * self.first_layer
        self._policies += _unstack(policies) if has_parameters else [policies] * trimming
        self._inputs = [jax.tree.map(lambda leaf, index=index: leaf[index], run.inputs) for index in range(run.depth)]
        self._decide_program = jax.jit(self._decide_and_count)
        self._advance_programs = functools.cache(lambda first: jax.jit(functools.partial(self._advance, first)))

    @property
    def trims_at_once(self) -> bool:
        """Whether the first layer closes anything."""
        return self.first_layer == 0 < self.depth

    def stretches(self, every: int) -> list[tuple[int, int]]:
        """The layers, cut at the first that trims and `every` layers before and behind it."""
        cuts = sorted({0, *range(self.first_layer % every, self.depth, every)} - {self.depth})
        return list(zip(cuts, [*cuts[1:], self.depth], strict=True))

    def worth_a_pause(self, kept: GatesByKey, gain: float) -> list[int]:
        """The layers that close at least a share `gain` of the tokens open at the pause before, or a group of heads.

        Args:
            kept: the gates of examples, summed: `[layers, tokens]` and `[layers, heads]`.
            gain: the least share.
        """
        own = [gates for key, gates in kept.items() if key.run == self.name]
        tokens = np.sum([gates.tokens.sum(axis=1) for gates in own], axis=0)
        heads = [part for gates in own for part in gates.modules.values()]
        # The global token is open in every example.
        examples = max(float(gates.tokens.max()) for gates in own)
        open_share = np.min([part.mean(axis=1) for part in heads], axis=0) / examples
        held, layers = np.inf, []
        for layer in range(self.first_layer, self.depth):
            if tokens[layer] <= (1 - gain) * held or open_share[layer] <= 1 - 1 / HEAD_GROUPS:
                held = tokens[layer]
                layers.append(layer)
        return layers

    def narrow(self, kept: OpenHeads) -> None:
        """Takes all heads but `kept`, `[layers, heads]`, out of a copy of the layers, used wherever it serves."""
        for index, params in enumerate(self._layers):
            mine = {(key, part): mask[index] for (key, part), mask in kept.items() if key.run == self.name}
            narrow = narrow_layer(nnx.merge(self._layer_def, restore(params)), mine)
            self.narrow_layers[index] = narrow and dataclasses.replace(narrow, params=store(narrow.params))

    def decide(self, state: State, examples: ExampleInfo, trim: Trim) -> tuple[State, GatesByKey, jax.Array]:
        """What the first layer closes, and the counts of what is left; see `count`."""
        layer = self._layers[0] if self._run.reads_layers else None
        return self._decide_program(self._policies[0], layer, np.int32(0), state, examples, trim)

    def advance(
        self,
        start: int,
        stop: int,
        state: State,
        gates: GatesByKey | None,
        examples: ExampleInfo,
        trim: Trim | None,
        wanted: OpenHeads | None,
        group_heads: bool,
    ) -> tuple[State, LayerGates, GatesByKey | None, jax.Array | None]:
        """Layers `start` to `stop`, and what the layer behind them closes.

        Args:
            start: the first layer.
            stop: the layer behind the last.
            state: with the tokens that layer `start` closes closed.
            gates: of layer `start`; None if it has not decided yet.
            examples: what decisions may know of the examples.
            trim: how layers decide.
            wanted: the heads that layer `start` opens, if known.
            group_heads: run layer `start` with the weights of these heads alone, taken out of all on the way.

        Returns:
            The state; the gates of these layers; those of layer `stop` and the counts of what it leaves, or twice
            None where that layer closes nothing.
        """
        ahead = trim is not None and self.first_layer <= stop < self.depth
        policies = [None if trim is None else part for part in self._policies[start : stop + ahead]]
        layers, inputs, first = self._layers[start:stop], self._inputs[start:stop], self._layer_def
        narrow, heads = self.narrow_layers[start], None
        if narrow is not None and wanted is not None and narrow.serves(wanted):
            layers, first = [narrow.params, *layers[1:]], narrow.graphdef
        elif wanted is not None and group_heads:
            heads = grouped(wanted)
        following = self._layers[stop] if ahead and self._run.reads_layers else None
        program = self._advance_programs(first)
        mode = Trim() if trim is None else trim
        return program(layers, following, inputs, policies, np.int32(start), state, gates, examples, mode, heads)

    def _modules(self, layer: Any) -> dict[str, Any]:
        """A layer's modules by side; none of one that no decision reads."""
        return {} if layer is None else nnx.merge(self._layer_def, restore(layer))

    def _decide(
        self, policies: Any, layers: Any, index: jax.Array, state: State, examples: ExampleInfo, trim: Trim
    ) -> tuple[State, GatesByKey]:
        modules = None if policies is None else nnx.merge(self._policy_def, policies)
        return self._run.decide(modules, layers, index, state, examples, trim, None)

    def _decide_and_count(
        self, policies: Any, layer: Any, index: jax.Array, state: State, examples: ExampleInfo, trim: Trim
    ) -> tuple[State, GatesByKey, jax.Array]:
        self.compiled += 1  # runs when jit traces
        state, gates = self._decide(policies, self._modules(layer), index, state, examples, trim)
        return state, gates, count(state, gates)

    def _advance(
        self,
        first: Any,
        layers: list[Any],
        following: Any,
        inputs: list[Any],
        policies: list[Any],
        start: jax.Array,
        state: State,
        gates: GatesByKey | None,
        examples: ExampleInfo,
        trim: Trim,
        heads: HeadIndices | None,
    ) -> tuple[State, LayerGates, GatesByKey | None, jax.Array | None]:
        self.compiled += 1  # runs when jit traces
        every: LayerGates = {}
        for number, more in enumerate(inputs):
            graphdef = first if number == 0 else self._layer_def
            modules = nnx.merge(graphdef, restore(layers[number]))
            if gates is None:
                state, gates = self._decide(policies[number], modules, start + number, state, examples, trim)
            for key, gate in gates.items():
                every.setdefault(key, []).append(gate)
            if heads is not None and number == 0:
                modules = with_heads(modules, heads)
            state, gates = self._run.advance(modules, state, gates, None, more), None
        if len(policies) == len(inputs):
            return state, every, None, None
        stop = len(inputs)
        state, gates = self._decide(policies[stop], self._modules(following), start + stop, state, examples, trim)
        return state, every, gates, count(state, gates)


class FramePrograms:
    """What surrounds the runs: embeddings, segments, heads.

    Args:
        model: whose parameters these are.
        params: of the model.
        runs: of the model with these parameters; what belongs to them is not held.
    """

    def __init__(self, model: Functional, params: Params, runs: list[LayerRun]):
        leaves, self._treedef = jax.tree.flatten(params)
        elsewhere = {id(leaf) for run in runs for leaf in jax.tree.leaves(nnx.split((run.layers, run.policies))[1])}
        self._leaves = [None if id(leaf) in elsewhere else leaf for leaf in leaves]
        self._shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
        self._model = model
        self._start = jax.jit(self._start_and_count)
        self._segment = jax.jit(self._apply_segment, static_argnums=0)
        self._read_out = jax.jit(self._stack_and_read_out)
        self._numbers: dict[Any, float] = {}

    def start(self, *batch: Any) -> tuple[Prefix, jax.Array]:
        """The beginning of a pass over a batch, and the counts of its tokens."""
        return self._start(self._leaves, *batch)

    def numbers(self, batch: tuple[Any, ...]) -> float:
        """How many numbers an example of the batch holds on its larger side."""
        shapes = tuple(np.shape(part) for part in batch)
        if shapes not in self._numbers:
            prefix, _ = jax.eval_shape(self._start, self._leaves, *batch)
            self._numbers[shapes] = max(tokens.values.size for tokens in prefix.state.values()) / len(batch[1])
        return self._numbers[shapes]

    def segment(self, name: str, prefix: Prefix) -> Prefix:
        """One segment by its name."""
        return self._segment(name, self._leaves, prefix)

    def read_out(self, state: State, gates: LayerGates, present: dict[GateKey, jax.Array]) -> Output:
        """The heads' output."""
        return self._read_out(self._leaves, state, gates, present)

    def _bind(self, leaves: list[Any]) -> Any:
        """The module; what belongs to the runs is zero, and not computed with."""
        filled = [
            jnp.zeros(shape.shape, shape.dtype) if leaf is None else leaf
            for leaf, shape in zip(leaves, self._shapes, strict=True)
        ]
        return self._model.bind(jax.tree.unflatten(self._treedef, filled))

    def _start_and_count(self, leaves: list[Any], *batch: Any) -> tuple[Prefix, jax.Array]:
        prefix = self._bind(leaves).start(*batch)
        return prefix, count(prefix.state, {})

    def _apply_segment(self, name: str, leaves: list[Any], prefix: Prefix) -> Prefix:
        (stage,) = (stage for stage in self._bind(leaves).stages if stage.name == name)
        examples = prefix.examples.replace(stage.present(prefix.examples.present))
        return Prefix(stage.apply(prefix.state), examples)

    def _stack_and_read_out(
        self, leaves: list[Any], state: State, gates: LayerGates, present: dict[GateKey, jax.Array]
    ) -> Output:
        by_key = {key: jax.tree.map(lambda *layers: jnp.stack(layers), *layers) for key, layers in gates.items()}
        return self._bind(leaves).read_out(state, TrimRecord(by_key, present))


def store(params: Any) -> Any:
    """A layer's parameters as its programs take them."""
    return _turn(params) if _lies_transposed() else params


def restore(stored: Any) -> Any:
    """What `store` was given; inside a program it costs nothing."""
    return _turn(stored) if _lies_transposed() else stored


def _turn(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.T if leaf.ndim == 2 else leaf, params)


def _lies_transposed() -> bool:
    return jax.default_backend() == "cpu"
