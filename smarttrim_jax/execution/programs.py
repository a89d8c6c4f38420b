"""The stages of a model as jitted functions; jit caches a program for each combination of shapes."""

import dataclasses
import functools
from collections.abc import Callable
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
    can_narrow,
    grouped,
    narrow_layer,
    with_heads,
)
from smarttrim_jax.models.base import Output, VisionLanguageModel
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.models.segments import ExampleInfo, LayerRun, Prefix, Segment, State
from smarttrim_jax.nn.layer_stack import unstack
from smarttrim_jax.trimming.gates import GateKey, Gates, GatesByKey, Trim, TrimRecord

LayerGates = dict[GateKey, list[Gates]]
Decided = tuple[State, GatesByKey, jax.Array]
"""The state with more tokens closed, the gates that closed them, and the counts of the remaining tokens."""
Advanced = tuple[State, LayerGates, GatesByKey | None, jax.Array | None]
"""What `RunPrograms.advance` returns."""

_unstack = jax.jit(unstack)  # one program instead of one for each array and layer


@dataclasses.dataclass(frozen=True)
class Counts:
    """The counts that the host reads before a layer.

    Attributes:
        tokens: For each side, the open tokens of the whole batch and those of its longest example.
        heads: Whether any example opens a head of the layer.
    """

    tokens: dict[str, tuple[int, int]]
    heads: OpenHeads


def count(state: State, gates: GatesByKey) -> jax.Array:
    """Computes `Counts` as one array of integers, which takes a single transfer to the host.

    Args:
        state: The tokens of each side.
        gates: Gates of a layer; empty for none.

    Returns:
        Two numbers for each side in the order of the sides' names, then one for each head.
    """
    tokens = [state[name].counts for name in sorted(state)]
    numbers = [jnp.stack([jnp.sum(part), jnp.max(part)]) for part in tokens]
    heads = [(jnp.max(opened, axis=0) > 0).astype(jnp.int32) for _, opened in _modules(gates)]
    return jnp.concatenate([*numbers, *heads])


def read_counts(numbers: np.ndarray, state: State, gates: GatesByKey) -> Counts:
    """Reads the array that `count` made for the same state and gates.

    Args:
        numbers: The array, on the host.
        state: The tokens of each side; only the names of the sides are used.
        gates: Gates of a layer; only their keys and shapes are used.

    Returns:
        The counts.
    """
    sides = sorted(state)
    tokens = {name: (int(numbers[2 * i]), int(numbers[2 * i + 1])) for i, name in enumerate(sides)}
    heads, start = {}, 2 * len(sides)
    for key, opened in _modules(gates):
        width = opened.shape[-1]
        heads[key] = numbers[start : start + width] > 0
        start += width
    return Counts(tokens, heads)


def _modules(gates: GatesByKey) -> list[tuple[tuple[GateKey, str], jax.Array]]:
    """Lists the head gates of each attention module in a fixed order."""
    return [((key, part), opened) for key in sorted(gates) for part, opened in gates[key].modules.items()]


class RunPrograms:
    """The programs of a run of layers, with the layers unstacked.

    Args:
        run: A run of the model, with its parameters.

    Attributes:
        name: Name of the run.
        sides: The sides of the state that it reads, changes or trims.
        depth: Number of layers.
        first_layer: Index of the first layer that closes anything; `depth` if none does.
        narrow_layers: Copies of the layers without some heads; see `narrow`.
        compiled: Number of programs compiled so far.
    """

    def __init__(self, run: LayerRun):
        self.name, self.sides = run.name, run.side_names
        self.depth, self.first_layer = run.depth, run.first_layer if run.policies else run.depth
        self._run = run
        self._can_narrow = can_narrow(run)
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
        self._decide_program: Callable[..., Decided] = jax.jit(self._decide_and_count)
        self._advance_programs = functools.cache(lambda first: jax.jit(functools.partial(self._advance, first)))

    @property
    def trims_at_once(self) -> bool:
        """Whether the first layer closes anything."""
        return self.first_layer == 0 < self.depth

    def stretches(self, every: int) -> list[tuple[int, int]]:
        """Divides the layers into stretches, between which closed tokens may be removed.

        Args:
            every: Number of layers of a stretch. The first stretch is shorter where needed, so that one begins at the
                first layer that trims.

        Returns:
            The index of the first layer of each stretch, and the index behind its last one.
        """
        cuts = sorted({0, *range(self.first_layer % every, self.depth, every)} - {self.depth})
        return list(zip(cuts, [*cuts[1:], self.depth], strict=True))

    def worth_a_pause(self, kept: GatesByKey, gain: float) -> list[int]:
        """Finds the layers before which reading the counts is worth the wait.

        These are the first layer that trims, the layers that close at least a share `gain` of the tokens that were
        open at the pause before, and those with an attention module of which at least one group of heads is closed
        on average.

        Args:
            kept: The gates of examples, summed over them: `[layers, tokens]` and `[layers, heads]`.
            gain: The least share of tokens.

        Returns:
            Indices of the layers, ascending.
        """
        own = [gates for key, gates in kept.items() if key.run == self.name]
        tokens = np.sum([gates.tokens.sum(axis=1) for gates in own], axis=0)
        heads = [part for gates in own for part in gates.modules.values()]
        # The global token is open in every example, so its sum is the number of examples.
        examples = max(float(gates.tokens.max()) for gates in own)
        open_share = np.min([part.mean(axis=1) for part in heads], axis=0) / examples
        held, layers = np.inf, []
        for layer in range(self.first_layer, self.depth):
            if tokens[layer] <= (1 - gain) * held or open_share[layer] <= 1 - 1 / HEAD_GROUPS:
                held = tokens[layer]
                layers.append(layer)
        return layers

    def narrow(self, kept: OpenHeads) -> None:
        """Makes copies of the layers without some heads, which are used for batches that open no other head.

        Args:
            kept: The heads that remain, `[layers, heads]` for each gates' key and field.
        """
        if not self._can_narrow:
            return
        for index, params in enumerate(self._layers):
            mine = {(key, part): mask[index] for (key, part), mask in kept.items() if key.run == self.name}
            narrow = narrow_layer(nnx.merge(self._layer_def, restore(params)), mine)
            self.narrow_layers[index] = narrow and dataclasses.replace(narrow, params=store(narrow.params))

    def decide(self, state: State, examples: ExampleInfo, trim: Trim) -> Decided:
        """Decides what the first layer closes.

        Args:
            state: The tokens of the run's sides before the first layer.
            examples: What decisions may know of the examples.
            trim: How the layer decides.

        Returns:
            The state with more tokens closed, the layer's gates, and the counts of the remaining tokens; see `count`.
        """
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
    ) -> Advanced:
        """Computes layers `start` to before `stop`, and decides what layer `stop` closes.

        Args:
            start: Index of the first layer.
            stop: Index behind the last layer.
            state: The tokens before layer `start`, without those that it closes.
            gates: Gates of layer `start`; None if it has not decided yet.
            examples: What decisions may know of the examples.
            trim: How layers decide; None keeps everything.
            wanted: The heads of layer `start` that any example opens; None if unknown.
            group_heads: Whether to run layer `start` with the weights of these heads alone, selected inside the
                program.

        Returns:
            The state after the layers; the gates of these layers; the gates of layer `stop`, and the counts of what
            it leaves. The last two are None where layer `stop` does not exist or closes nothing.
        """
        ahead = trim is not None and self.first_layer <= stop < self.depth
        policies = [None if trim is None else part for part in self._policies[start : stop + ahead]]
        layers, inputs, first = self._layers[start:stop], self._inputs[start:stop], self._layer_def
        narrow, heads = self.narrow_layers[start], None
        if narrow is not None and wanted is not None and narrow.serves(wanted):
            layers, first = [narrow.params, *layers[1:]], narrow.graphdef
        elif wanted is not None and group_heads and self._can_narrow:
            heads = grouped(wanted)
        following = self._layers[stop] if ahead and self._run.reads_layers else None
        program: Callable[..., Advanced] = self._advance_programs(first)
        mode = Trim() if trim is None else trim
        return program(layers, following, inputs, policies, np.int32(start), state, gates, examples, mode, heads)

    def _modules(self, layer: Any) -> dict[str, Any]:
        """A layer's modules by side; empty for None, which stands for a layer that no decision reads."""
        return {} if layer is None else nnx.merge(self._layer_def, restore(layer))

    def _decide(
        self, policies: Any, layers: Any, index: jax.Array, state: State, examples: ExampleInfo, trim: Trim
    ) -> tuple[State, GatesByKey]:
        """Decides what a layer closes, inside a program."""
        modules = None if policies is None else nnx.merge(self._policy_def, policies)
        return self._run.decide(modules, layers, index, state, examples, trim, None)

    def _decide_and_count(
        self, policies: Any, layer: Any, index: jax.Array, state: State, examples: ExampleInfo, trim: Trim
    ) -> Decided:
        """The program of `decide`."""
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
    ) -> Advanced:
        """The program of `advance`; `first` is the graph definition of its first layer, which may be a narrow one."""
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
    """The programs around the runs of layers: embeddings, segments and heads.

    Args:
        model: The model as functions of its parameters.
        params: The model's parameters.
        runs: The runs of the model with these same parameter arrays, which are not kept here.
    """

    def __init__(self, model: Functional, params: Params, runs: list[LayerRun]):
        leaves, self._treedef = jax.tree.flatten(params)
        elsewhere = {id(leaf) for run in runs for leaf in jax.tree.leaves(nnx.split((run.layers, run.policies))[1])}
        self._leaves = [None if id(leaf) in elsewhere else leaf for leaf in leaves]
        self._shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
        self._model = model
        self._start: Callable[..., tuple[Prefix, jax.Array]] = jax.jit(self._start_and_count)
        self._segment: Callable[..., Prefix] = jax.jit(self._apply_segment, static_argnums=0)
        self._read_out: Callable[..., Output] = jax.jit(self._stack_and_read_out)
        self._numbers: dict[Any, float] = {}

    def start(self, *batch: Any) -> tuple[Prefix, jax.Array]:
        """Embeds a batch.

        Args:
            *batch: Images, ids and mask.

        Returns:
            The beginning of the pass, and the counts of its tokens; see `count`.
        """
        return self._start(self._leaves, *batch)

    def numbers(self, batch: tuple[Any, ...]) -> float:
        """Returns how many numbers (tokens times width) an example holds on its larger side after the embedding.

        Args:
            batch: Images, ids and mask; only their shapes matter.

        Returns:
            The mean over the examples of the batch.
        """
        shapes = tuple(np.shape(part) for part in batch)
        if shapes not in self._numbers:
            prefix, _ = jax.eval_shape(self._start, self._leaves, *batch)
            self._numbers[shapes] = max(tokens.values.size for tokens in prefix.state.values()) / len(batch[0])
        return self._numbers[shapes]

    def segment(self, name: str, prefix: Prefix) -> Prefix:
        """Runs one segment.

        Args:
            name: Name of the segment.
            prefix: The state before it, and what is known of the examples.

        Returns:
            The state after it, and what is then known of the examples.
        """
        return self._segment(name, self._leaves, prefix)

    def read_out(self, state: State, gates: LayerGates, present: dict[GateKey, jax.Array]) -> Output:
        """Runs the heads.

        Args:
            state: The tokens of each side after the last stage.
            gates: The gates of all layers, a list for each key.
            present: `[rows, tokens]` for each key, 1 for tokens that are no padding.

        Returns:
            The output of the model's call.
        """
        return self._read_out(self._leaves, state, gates, present)

    def _bind(self, leaves: list[Any]) -> VisionLanguageModel:
        """The module; parameters of the runs are zeros, which no program here reads."""
        filled = [
            jnp.zeros(shape.shape, shape.dtype) if leaf is None else leaf
            for leaf, shape in zip(leaves, self._shapes, strict=True)
        ]
        model: VisionLanguageModel = self._model.bind(jax.tree.unflatten(self._treedef, filled))
        return model

    def _start_and_count(self, leaves: list[Any], *batch: Any) -> tuple[Prefix, jax.Array]:
        """The program of `start`."""
        prefix = self._bind(leaves).start(*batch)
        return prefix, count(prefix.state, {})

    def _apply_segment(self, name: str, leaves: list[Any], prefix: Prefix) -> Prefix:
        """The program of `segment`."""
        segments = (stage for stage in self._bind(leaves).stages if isinstance(stage, Segment))
        (segment,) = (segment for segment in segments if segment.name == name)
        examples = prefix.examples.replace(segment.present(prefix.examples.present))
        return Prefix(segment.apply(prefix.state), examples)

    def _stack_and_read_out(
        self, leaves: list[Any], state: State, gates: LayerGates, present: dict[GateKey, jax.Array]
    ) -> Output:
        """The program of `read_out`."""
        by_key = {key: jax.tree.map(lambda *layers: jnp.stack(layers), *layers) for key, layers in gates.items()}
        return self._bind(leaves).read_out(state, TrimRecord(by_key, present))


def store(params: Any) -> Any:
    """Converts a layer's parameters to the form in which its programs take them.

    Args:
        params: Tree of arrays.

    Returns:
        The tree with matrices transposed on CPUs, and unchanged elsewhere.
    """
    return _turn(params) if _lies_transposed() else params


def restore(stored: Any) -> Any:
    """Reverses `store`; inside a program this costs nothing.

    Args:
        stored: Tree of arrays that `store` returned.

    Returns:
        The parameters.
    """
    return _turn(stored) if _lies_transposed() else stored


def _turn(params: Any) -> Any:
    """Transposes all matrices of a tree."""
    return jax.tree.map(lambda leaf: leaf.T if leaf.ndim == 2 else leaf, params)


def _lies_transposed() -> bool:
    """Whether programs take matrices transposed: on CPUs."""
    return jax.default_backend() == "cpu"
