"""Packed execution: the host runs a model's stages and removes closed tokens from memory between layers.

Layers, parameters and decisions are those of padded execution; only the memory layout of the tokens differs. Before a
layer that closes tokens, the host reads two counts for each side, chooses buckets, and continues with programs
compiled for them. Layers of equal sizes share these programs.
"""

import collections
import dataclasses
import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from smarttrim_jax.execution.base import Batch
from smarttrim_jax.execution.buckets import Bucket, Buckets, Occupancy
from smarttrim_jax.execution.config import ExecutionConfig
from smarttrim_jax.execution.counts import Counts, count, read_counts
from smarttrim_jax.execution.frame_programs import FramePrograms
from smarttrim_jax.execution.microbatches import cut, examples_at_once, join
from smarttrim_jax.execution.open_heads import OpenHeads, open_heads, together
from smarttrim_jax.execution.run_programs import RunPrograms
from smarttrim_jax.models.base import Output
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.models.segments import LayerRun, Prefix, State, make_record
from smarttrim_jax.tokens import Packed, Tokens, compact
from smarttrim_jax.tokens.rounding import ladder
from smarttrim_jax.trimming.gates import GatesByKey, Trim, TrimRecord

PackedLengths = list[tuple[str, dict[str, int]]]
"""For each layer, the name of its run and the number of tokens of each side in memory."""

OPEN = 1e9
"""An offset at which every gate stays open."""


class PackedExecutor:
    """Evaluates a model, removing the tokens that it trims from memory; the host leads.

    Args:
        model: The model as functions of its parameters.
        params: The model's parameters. CPUs copy large layers one by one, so the caller may drop these.
        config: How tokens are packed; None takes the defaults.

    Attributes:
        config: How tokens are packed.
        description: Name of the execution.
        pauses: The (run, layer) pairs before which the host waits for counts; None stands for all layers that trim.
        kept: Mean share of its tokens that a trimmed batch keeps; 1 before `calibrate`.
    """

    description = "packed"

    def __init__(self, model: Functional, params: Params, config: ExecutionConfig | None = None):
        self.config = config or ExecutionConfig()
        stages = model.bind(params).stages
        self._stages = [RunPrograms(stage) if isinstance(stage, LayerRun) else stage.name for stage in stages]
        self._frame = FramePrograms(model, params, [stage for stage in stages if isinstance(stage, LayerRun)])
        self._buckets: dict[int, Buckets] = collections.defaultdict(lambda: Buckets(self.config))
        self.pauses: set[tuple[str, int]] | None = None
        self.kept = 1.0

    @property
    def runs(self) -> list[RunPrograms]:
        """The programs of the model's runs of layers."""
        return [stage for stage in self._stages if isinstance(stage, RunPrograms)]

    @property
    def compiled(self) -> int:
        """The number of layer programs compiled so far."""
        return sum(run.compiled for run in self.runs)

    def __call__(self, images: Any, ids: Any = None, mask: Any = None, *, trim: Trim | None = None) -> Output:
        """Evaluates one batch.

        Args:
            images: Normalised images, `[batch, height, width, 3]` or `[batch, images, height, width, 3]`.
            ids: Token ids of the texts, `[batch, tokens]`; None for a model of images alone.
            mask: 1 for tokens, 0 for padding, `[batch, tokens]`; None where there are no ids.
            trim: How the trimmers decide; None runs at full capacity, without the padding.

        Returns:
            The output of the model's call, except that the tokens of its state may be packed.
        """
        (output,) = self.stream([(images, ids, mask)], trim=trim, in_flight=1)
        return output

    def stream(self, batches: Iterable[Batch], *, trim: Trim | None = None, in_flight: int = 2) -> Iterator[Output]:
        """Evaluates many batches in order; while one waits for its counts, another one computes.

        Args:
            batches: Batches as the model's call takes them.
            trim: How the trimmers decide; None runs at full capacity, without the padding.
            in_flight: Number of batches, or of their microbatches, that are computed in turns.

        Yields:
            The output of each batch. The tokens of its state are packed, or padded if the batch ran in microbatches.
        """
        sizes: collections.deque[int] = collections.deque()

        def microbatches() -> Iterator[tuple[Batch, Trim | None]]:
            for batch in batches:
                own = self._microbatches(batch, trim)
                sizes.append(len(own))
                yield from own

        outputs = self._results_in_order(microbatches(), in_flight)
        for first in outputs:
            rest = itertools.islice(outputs, sizes.popleft() - 1)
            yield join([first, *rest])

    def packed_lengths(self, batch: Batch, trim: Trim | None) -> PackedLengths:
        """Runs a batch and reports the tokens that were in memory.

        Args:
            batch: Images, ids and mask.
            trim: How the trimmers decide; None runs at full capacity, without the padding.

        Returns:
            For each layer, the name of its run and the number of tokens of each side in memory, closed ones and
            fillers included.
        """
        microbatches: list[PackedLengths] = []
        for microbatch, own in self._microbatches(batch, trim):
            microbatches.append([])
            _InFlight(self._execute(microbatch, own, lengths=microbatches[-1])).result()
        return [
            (parts[0][0], {side: sum(sizes[side] for _, sizes in parts) for side in parts[0][1]})
            for parts in zip(*microbatches, strict=True)
        ]

    def warmup(self, batch: Batch, *, shares: tuple[float, float] = (0.1, 1.0), longest: float = 1.3) -> int:
        """Compiles the programs for all buckets between two shares of kept tokens, so that later batches do not wait.

        Afterwards batches share these programs, and others are compiled only for what none of them holds. With a
        persistent compilation cache (`JAX_COMPILATION_CACHE_DIR`), a later process reads the programs from it.

        Args:
            batch: Any batch of the size and text length to come.
            shares: Least and largest share of the tokens that batches are expected to keep on average.
            longest: How many times the average the longest example may keep.

        Returns:
            The number of packed lengths that were compiled for.
        """
        (batch, _), *_ = self._microbatches(batch, Trim())
        prefix, _ = self._frame.start(*batch)
        examples, tokens = max(
            (tokens.shape for tokens in prefix.state.values()), key=lambda shape: shape[0] * shape[1]
        )
        rungs = ladder(examples * tokens, self.config.length_growth, self.config.rounding)
        wanted = [rung / rungs[-1] for rung in rungs if shares[0] <= rung / rungs[-1] <= shares[1]]
        everything_open = Trim(offset=OPEN)
        buckets = self._buckets[len(batch[0])]
        buckets.is_unbounded = True
        for share in wanted:
            for factor in (1.0,) if examples == 1 else (1.0, longest):
                _InFlight(self._execute(batch, everything_open, share, factor)).result()
        buckets.is_unbounded = False
        return len(wanted)

    def calibrate(self, batches: Iterable[Batch], *, trim: Trim) -> OpenHeads:
        """Measures on examples where removing closed tokens is worth it, and which heads no example opens.

        Afterwards the host waits for counts only before layers that closed enough, and heads that no example opened
        are left out of the weights. Outputs do not change: where a later example opens such a head, the layer runs
        with all heads.

        Args:
            batches: Batches of examples like those to come.
            trim: How the trimmers will decide.

        Returns:
            Whether any example opens a head, `[layers, heads]` for each gates' key and module.
        """
        kept: OpenHeads = {}
        records, at_first = [], []
        for output in self.stream(batches, trim=trim):
            kept = together(kept, open_heads(output.record.gates))
            records.append(_totals(output.record))
            at_first.append(_totals(output.record.opened()))
        totals, opened = (jax.tree.map(lambda *parts: np.sum(parts, axis=0), *each) for each in (records, at_first))
        self.kept = _tokens(totals) / _tokens(opened)
        self.pauses = set()
        for run in self.runs:
            self.pauses |= {(run.name, layer) for layer in run.worth_a_pause(totals, self.config.gain)}
            run.narrow(kept)
        return kept

    def _microbatches(self, batch: Batch, trim: Trim | None) -> list[tuple[Batch, Trim | None]]:
        """Splits a batch into microbatches, each with its part of `trim`."""
        examples, numbers = len(batch[0]), self._frame.numbers(batch)
        if trim is not None:
            trim.check(examples)
        size = examples_at_once(numbers * (1.0 if trim is None else self.kept), self.config.numbers_at_once)
        return list(zip(cut(batch, examples, size), cut(trim, examples, size), strict=True))

    def _results_in_order(
        self, microbatches: Iterable[tuple[Batch, Trim | None]], in_flight: int
    ) -> Iterator[Output]:
        """Executes microbatches in turns, and yields their outputs in order."""
        going: list[_InFlight] = []
        for batch, trim in microbatches:
            going.append(_InFlight(self._execute(batch, trim)))
            if len(going) == in_flight:
                yield going.pop(0).result(going)
        while going:
            yield going.pop(0).result(going)

    def _execute(
        self,
        batch: Batch,
        trim: Trim | None,
        share: float = 1.0,
        longest: float = 1.0,
        lengths: PackedLengths | None = None,
    ) -> Generator[jax.Array, np.ndarray, Output]:
        """Coroutine that executes one batch.

        Args:
            batch: Images, ids and mask.
            trim: How the trimmers decide; None runs at full capacity.
            share: Share of all tokens that stay open from the start, used by warm-up; 1 closes nothing.
            longest: Factor by which the first example keeps more than that share.
            lengths: A list to which, for each layer, its run and the tokens of each side in memory are appended; None
                skips it.

        Yields:
            Device arrays of the counts of open tokens; the driver sends back their host values.

        Returns:
            The output of the batch.
        """
        trim = None if trim is None else jax.tree.map(jnp.float32, trim)
        buckets, group_heads = self._buckets[len(batch[0])], len(batch[0]) <= self.config.group_heads
        prefix, numbers = self._frame.start(*batch)
        state, examples = prefix.state, prefix.examples
        if share < 1:
            state = {name: _shortened(tokens, share, longest) for name, tokens in state.items()}
            numbers = count(state, {})
        state = self._without_closed(buckets, "start", state, read_counts((yield numbers), state, {}))
        record = TrimRecord()
        for stage in self._stages:
            if isinstance(stage, str):
                prefix = self._frame.segment(stage, Prefix(state, examples))
                state, examples = prefix.state, prefix.examples
                continue
            between, ahead = stage.begin({side: state[side] for side in stage.sides}, examples, trim)
            pauses = self._pauses_of(stage.name) if trim is not None else ()
            for start, stop in stage.stretches(self.config.every, pauses):
                wanted = None
                if start >= stage.first_layer and (pauses is None or start in pauses):
                    counts = read_counts((yield ahead), between.state, between.gates)
                    compacted = self._without_closed(buckets, stage.name, between.state, counts)
                    between, wanted = dataclasses.replace(between, state=compacted), counts.heads
                if lengths is not None:
                    held = {side: part.gate.size for side, part in between.state.items()}
                    lengths += [(stage.name, held)] * (stop - start)
                between, ahead = stage.advance(start, stop, between, examples, trim, wanted, group_heads)
            record |= make_record(between.record, examples)
            state |= between.state
        return self._frame.read_out(state, record)

    def _pauses_of(self, run: str) -> set[int] | None:
        """The layers of a run before which the host waits for counts; None stands for all that trim."""
        return None if self.pauses is None else {layer for name, layer in self.pauses if name == run}

    def _without_closed(self, buckets: Buckets, stage: str, state: State, counts: Counts) -> State:
        """The state with each side moved to the bucket that is chosen for the stage."""
        before = {side: _bucket(state[side]) for side in sorted(state)}
        sides = [Occupancy(state[side].shape, bucket, *counts.tokens[side]) for side, bucket in before.items()]
        chosen = buckets.choose(stage, sides)
        compacted = dict(state)
        for side, bucket in zip(before, chosen, strict=True):
            if bucket != before[side]:
                compacted[side] = _compact(state[side], bucket.packed_length, bucket.row_capacity)
        return compacted


def _bucket(tokens: Tokens) -> Bucket:
    """The bucket that tokens are in."""
    row_capacity = tokens.row_capacity if isinstance(tokens, Packed) else tokens.shape[1]
    return Bucket(tokens.gate.size, row_capacity)


class _InFlight:
    """A batch in flight: the coroutine that executes it, the counts it waits for, and finally its output."""

    def __init__(self, execution: Generator[jax.Array, np.ndarray, Output]):
        self._execution, self._waiting = execution, next(execution)
        self._output: Output | None = None

    def step(self) -> Output | None:
        """Sends the counts to the coroutine and runs it to its next wait; returns the output once there is one."""
        if self._output is None:
            try:
                self._waiting = self._execution.send(np.asarray(self._waiting))
            except StopIteration as end:
                self._output = end.value
        return self._output

    def result(self, others: Sequence["_InFlight"] = ()) -> Output:
        """Runs the coroutine to its end; after each of its steps, other batches take a step too.

        Args:
            others: The other batches in flight.

        Returns:
            The output of the batch.
        """
        while (output := self.step()) is None:
            for other in others:
                other.step()
        return output


def _shortened(tokens: Tokens, share: float, longest: float) -> Tokens:
    """Closes all but the first tokens of each example."""
    examples, length = tokens.shape
    kept = np.full(examples, max(int(share * length), 1))
    kept[0] = min(int(longest * share * length) + 1, length) if longest > 1 else kept[0]
    return tokens.close(jnp.asarray(np.arange(length) < kept[:, None], jnp.float32))


def _totals(record: TrimRecord) -> GatesByKey:
    """The record's gates, summed over the batch."""
    totals: GatesByKey = jax.tree.map(lambda gates: np.asarray(gates).sum(axis=1), record.gates)
    return totals


def _tokens(totals: GatesByKey) -> float:
    """The number of tokens that all layers together keep."""
    return float(sum(gates.tokens.sum() for gates in totals.values()))


_compact = jax.jit(compact, static_argnums=(1, 2))
