"""A run of layers as jitted functions; jit caches a program for each combination of shapes."""

import dataclasses
import functools
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from smarttrim_jax.execution.counts import count
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
from smarttrim_jax.models.segments import ExampleInfo, LayerRun, State
from smarttrim_jax.nn.layer_stack import unstack
from smarttrim_jax.trimming.gates import GatesByKey, Trim

LOOPED = 2**22
"""Bytes of a layer's parameters up to which CPUs loop over stacked layers. A loop copies a layer's parameters before
it computes; for larger layers that takes longer than to start a program for each."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Between:
    """What a run passes from one of its programs to the next: a layer has decided, and is not computed yet.

    Attributes:
        state: The tokens of the run's sides.
        gates: What the next layer has decided; behind the last layer of the run, what that one had.
        record: The gates of all layers of the run, with a leading axis of layers; 0 from the next layer on.
    """

    state: State
    gates: GatesByKey
    record: GatesByKey


Advanced = tuple[Between, jax.Array]
"""The state between two programs, and the counts of its tokens and of the next layer's heads; see `count`."""


class RunPrograms:
    """The programs of a run of layers.

    One program computes any number of consecutive layers, in a loop over the stacked layers whose bounds are
    arguments. A layer that runs with some of its heads only is computed alone, and so are large layers on CPUs.

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
        self._policy_def, policies = nnx.split(run.policies)
        if _is_copied_in_vain(layers, run.depth):
            self._stacked = _Stacked(None, policies, run.inputs)
            self._layers = _unstack(layers)
        else:
            self._stacked = _Stacked(layers, policies, run.inputs)
            self._layers = [None] * run.depth
        self.narrow_layers: list[NarrowLayer | None] = [None] * run.depth
        self.compiled = 0
        self._begin_program: Callable[..., Advanced] = jax.jit(self._begin)
        self._advance_program: Callable[..., Advanced] = jax.jit(self._advance)
        self._one_programs = functools.cache(lambda layer: jax.jit(functools.partial(self._advance_one, layer)))

    def stretches(self, every: int, pauses: Collection[int] | None) -> list[tuple[int, int]]:
        """Divides the layers into stretches, between which closed tokens may be removed.

        Args:
            every: Number of layers of a stretch, from the first layer that trims on.
            pauses: The layers at which a stretch may begin; None allows all.

        Returns:
            The index of the first layer of each stretch, and the index behind its last one.
        """
        begins = range(self.first_layer, self.depth, every)
        cuts = sorted({0, *(layer for layer in begins if pauses is None or layer in pauses)} - {self.depth})
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
        for index in range(self.depth):
            mine = {(key, part): mask[index] for (key, part), mask in kept.items() if key.run == self.name}
            self.narrow_layers[index] = narrow_layer(self._modules(self._stacked, index, self._layers[index]), mine)

    def begin(self, state: State, examples: ExampleInfo, trim: Trim | None) -> Advanced:
        """Decides what the first layer closes.

        Args:
            state: The tokens of the run's sides before the first layer.
            examples: What decisions may know of the examples.
            trim: How the layer decides; None keeps everything.

        Returns:
            The state before the first layer is computed, and its counts.
        """
        return self._begin_program(self._stacked, self._read_by_decision(0), state, examples, trim)

    def advance(
        self,
        start: int,
        stop: int,
        between: Between,
        examples: ExampleInfo,
        trim: Trim | None,
        wanted: OpenHeads | None,
        group_heads: bool,
    ) -> Advanced:
        """Computes layers `start` to before `stop`, and decides what layer `stop` closes.

        Args:
            start: Index of the first layer, which has decided.
            stop: Index behind the last layer.
            between: The state before layer `start`, without the tokens that it closes.
            examples: What decisions may know of the examples.
            trim: How layers decide; None keeps everything.
            wanted: The heads of layer `start` that any example opens; None if unknown.
            group_heads: Whether to run layer `start` with the weights of these heads alone, selected inside the
                program.

        Returns:
            The state after the layers, and its counts.
        """
        graphdef, params, heads = self._layer_def, self._layers[start], None
        narrow = self.narrow_layers[start]
        if narrow is not None and wanted is not None and narrow.serves(wanted):
            graphdef, params = narrow.graphdef, narrow.params
        elif wanted is not None and group_heads and self._can_narrow:
            heads = grouped(wanted)
        if params is None and heads is None:
            span = np.int32(start), np.int32(stop)
            return self._advance_program(self._stacked, span, between, examples, trim)
        program: Callable[..., Advanced] = self._one_programs(graphdef)
        following = self._read_by_decision(start + 1)
        advanced = program(self._stacked, params, following, heads, np.int32(start), between, examples, trim)
        if start + 1 == stop:
            return advanced
        return self.advance(start + 1, stop, advanced[0], examples, trim, None, False)

    def _read_by_decision(self, index: int) -> Any:
        """The parameters of a layer that is not among the stacked ones, where its decision reads them."""
        return self._layers[index] if self._run.reads_layers and index < self.depth else None

    def _modules(self, stacked: "_Stacked", index: jax.Array | int, params: Any = None) -> dict[str, Any]:
        """The modules of one layer by side, of its parameters or else of the stacked ones."""
        modules: dict[str, Any] = nnx.merge(self._layer_def, stacked.of_layer(index, params))
        return modules

    def _decide(
        self,
        stacked: "_Stacked",
        params: Any,
        index: jax.Array | int,
        state: State,
        examples: ExampleInfo,
        trim: Trim | None,
    ) -> tuple[State, GatesByKey]:
        """Decides what a layer closes, inside a program."""

        def keep(state: State) -> tuple[State, GatesByKey]:
            return self._run.decide(None, {}, index, state, examples, Trim(), None)

        def close(state: State) -> tuple[State, GatesByKey]:
            policies = nnx.merge(self._policy_def, _at(stacked.policies, index - self.first_layer))
            layers = self._modules(stacked, index, params) if self._run.reads_layers else {}
            return self._run.decide(policies, layers, index, state, examples, trim or Trim(), None)

        if trim is None or self.first_layer == self.depth:
            return keep(state)
        if self.first_layer == 0:
            return close(state)
        decided: tuple[State, GatesByKey] = jax.lax.cond(index >= self.first_layer, close, keep, state)
        return decided

    def _step(
        self,
        stacked: "_Stacked",
        modules: dict[str, Any],
        following: Any,
        index: jax.Array,
        between: Between,
        examples: ExampleInfo,
        trim: Trim | None,
    ) -> Between:
        """Computes a layer by its modules, and decides what the next one closes, inside a program."""
        record = jax.tree.map(lambda layers, gate: layers.at[index].set(gate), between.record, between.gates)
        state = self._run.advance(modules, between.state, between.gates, None, _at(stacked.inputs, index))

        def decide(state: State) -> tuple[State, GatesByKey]:
            return self._decide(stacked, following, index + 1, state, examples, trim)

        def end(state: State) -> tuple[State, GatesByKey]:
            return state, between.gates

        state, gates = jax.lax.cond(index + 1 < self.depth, decide, end, state)
        return Between(state, gates, record)

    def _begin(
        self, stacked: "_Stacked", first: Any, state: State, examples: ExampleInfo, trim: Trim | None
    ) -> Advanced:
        """The program of `begin`."""
        self.compiled += 1  # runs when jit traces
        state, gates = self._decide(stacked, first, 0, state, examples, trim)
        record = jax.tree.map(lambda gate: jnp.zeros((self.depth, *gate.shape), gate.dtype), gates)
        return Between(state, gates, record), count(state, gates)

    def _advance(
        self,
        stacked: "_Stacked",
        span: tuple[jax.Array, jax.Array],
        between: Between,
        examples: ExampleInfo,
        trim: Trim | None,
    ) -> Advanced:
        """The program of `advance` for stacked layers with all their heads."""
        self.compiled += 1  # runs when jit traces

        def step(index: jax.Array, between: Between) -> Between:
            return self._step(stacked, self._modules(stacked, index), None, index, between, examples, trim)

        between = jax.lax.fori_loop(*span, step, between)
        return between, count(between.state, between.gates)

    def _advance_one(
        self,
        graphdef: Any,
        stacked: "_Stacked",
        params: Any,
        following: Any,
        heads: HeadIndices | None,
        index: jax.Array,
        between: Between,
        examples: ExampleInfo,
        trim: Trim | None,
    ) -> Advanced:
        """The program of `advance` for one layer of its own parameters, or with some heads of the stacked ones."""
        self.compiled += 1  # runs when jit traces
        modules = nnx.merge(graphdef, stacked.of_layer(index, params))
        if heads is not None:
            modules = with_heads(modules, heads)
        between = self._step(stacked, modules, following, index, between, examples, trim)
        return between, count(between.state, between.gates)


class _Stacked(NamedTuple):
    """The parameters of a run and the further inputs of its layers, with a leading axis of layers.

    Attributes:
        layers: Parameters of the layers; None where each layer is computed alone.
        policies: Parameters of the policies of the layers that trim.
        inputs: Further arguments of `LayerRun.compute`.
    """

    layers: Any
    policies: Any
    inputs: dict[str, jax.Array]

    def of_layer(self, index: jax.Array | int, own: Any) -> Any:
        """The parameters of one layer: its own where they are given, or else its part of the stacked ones."""
        return _at(self.layers, index) if own is None else own


_unstack = jax.jit(unstack)  # one program instead of one for each array and layer


def _is_copied_in_vain(layers: Any, depth: int) -> bool:
    """Whether the layers are so large that they are better computed one by one on this process's device."""
    size: int = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(layers)) // depth
    return jax.default_backend() == "cpu" and size > LOOPED


def _at(stacked: Any, index: jax.Array | int) -> Any:
    """One layer's part of stacked arrays."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), stacked)
