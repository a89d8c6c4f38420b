"""Packed execution: a model's stages folded with closed tokens leaving memory between layers.

The layers, their parameters and their decisions are those of the padded execution; only where tokens lie differs.
Before a layer that closes tokens the host reads two counts for every side, chooses buckets, and goes on with
programs compiled for them; layers of one shape share these.
"""

import collections
import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from smarttrim_jax.execution.buckets import Bucket, Buckets, Occupancy
from smarttrim_jax.execution.config import ExecutionConfig
from smarttrim_jax.execution.microbatches import cut, examples_at_once, join
from smarttrim_jax.execution.open_heads import OpenHeads, open_heads, together
from smarttrim_jax.execution.programs import Counts, FramePrograms, LayerGates, RunPrograms, count, read_counts
from smarttrim_jax.models.base import Output
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.models.segments import LayerRun, Prefix, State
from smarttrim_jax.tokens import Packed, Tokens, compact
from smarttrim_jax.tokens.rounding import ladder
from smarttrim_jax.trimming.gates import GateKey, GatesByKey, Trim, TrimRecord

Batch = tuple[Any, Any, Any]
"""Images, ids and mask, as a model's call takes them."""

PackedLengths = list[tuple[str, dict[str, int]]]
"""For every layer its run, and how many tokens of each side lie in memory."""

OPEN = 1e9
"""An offset at which everything stays open."""


class PackedExecutor:
    """Evaluates a model, leaving out of memory what it trims.

    Args:
        model: whose parameters these are.
        params: of the model; the layers are copied one by one, so that the given ones may be dropped.
        config: of the packing.

    Attributes:
        config: the same.
        pauses: runs and layers before which the host waits for counts; None is before every layer that trims.
        kept: share of their tokens that trimmed batches keep on average.
    """

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
        """Programs of layers made so far."""
        return sum(run.compiled for run in self.runs)

    def __call__(self, images: Any, ids: Any, mask: Any, *, trim: Trim | None = None) -> Output:
        """The output of the model's call for the same arguments, but that the tokens of its state may be packed."""
        (output,) = self.stream([(images, ids, mask)], trim=trim, in_flight=1)
        return output

    def stream(self, batches: Iterable[Batch], *, trim: Trim | None = None, in_flight: int = 2) -> Iterator[Output]:
        """The outputs of many batches in order; while one waits for its counts, another computes.

        Args:
            batches: Each as the model's call takes it.
            trim: how the trimmers decide; None runs at full capacity, without the padding.
            in_flight: batches, or microbatches of them, computed by turns.
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
        """Every layer's run, and how many tokens of each side lie in memory, closed ones and fillers among them."""
        microbatches: list[PackedLengths] = []
        for microbatch, own in self._microbatches(batch, trim):
            microbatches.append([])
            _InFlight(self._execute(microbatch, own, lengths=microbatches[-1])).result()
        return [
            (parts[0][0], {side: sum(sizes[side] for _, sizes in parts) for side in parts[0][1]})
            for parts in zip(*microbatches, strict=True)
        ]

    def warmup(self, batch: Batch, *, shares: tuple[float, float] = (0.1, 1.0), longest: float = 1.3) -> int:
        """Compiles the programs for all buckets between two shares of kept tokens, so that no batch waits for them.

        Afterwards batches share these, and only what none of them holds is compiled for.
        With a persistent compilation cache (`JAX_COMPILATION_CACHE_DIR`) a later process only reads them.

        Args:
            batch: any of the size and text length to come.
            shares: least and most of the tokens that batches are expected to keep, on average.
            longest: how much more than the average the longest example may keep.

        Returns:
            Buckets compiled for.
        """
        (batch, _), *_ = self._microbatches(batch, Trim())
        prefix, _ = self._frame.start(*batch)
        examples, tokens = max(
            (tokens.shape for tokens in prefix.state.values()), key=lambda shape: shape[0] * shape[1]
        )
        rungs = ladder(examples * tokens, self.config.length_growth, self.config.rounding)
        wanted = [rung / rungs[-1] for rung in rungs if shares[0] <= rung / rungs[-1] <= shares[1]]
        everything_open = Trim(offset=OPEN)
        buckets = self._buckets[len(batch[1])]
        buckets.is_unbounded = True
        for share in wanted:
            for factor in (1.0,) if examples == 1 else (1.0, longest):
                _InFlight(self._execute(batch, everything_open, share, factor)).result()
        buckets.is_unbounded = False
        return len(wanted)

    def calibrate(self, batches: Iterable[Batch], *, trim: Trim) -> OpenHeads:
        """Learns from examples where closed tokens are worth removing, and which heads nobody opens.

        The host then waits for counts only before layers that closed enough, and heads that no example opened leave
        the weights. Outputs stay the same: where another example opens such a head, the layer runs with all of them.

        Args:
            batches: of examples like those to come.
            trim: how the trimmers will decide.

        Returns:
            Which heads any example opens, `[layers, heads]`.
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
        """The batch, cut into what is worked on at once."""
        examples, numbers = len(batch[1]), self._frame.numbers(batch)
        if trim is not None:
            trim.check(examples)
        size = examples_at_once(numbers * (1.0 if trim is None else self.kept), self.config.numbers_at_once)
        return list(zip(cut(batch, examples, size), cut(trim, examples, size), strict=True))

    def _results_in_order(
        self, microbatches: Iterable[tuple[Batch, Trim | None]], in_flight: int
    ) -> Iterator[Output]:
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
            trim: How the trimmers decide.
            share: The share of all tokens that is kept from the start, whatever they are (for warming up).
            longest: How much more of them the first example keeps.
            lengths: A list that takes every layer's stage, and the tokens in memory of each of its sides.

        Yields:
            Device arrays of the counts of open tokens; the driver sends back their host values.

        Returns:
            The output of the batch.
        """
        trim = None if trim is None else jax.tree.map(jnp.float32, trim)
        buckets, group_heads = self._buckets[len(batch[1])], len(batch[1]) <= self.config.group_heads
        prefix, numbers = self._frame.start(*batch)
        state, examples = prefix.state, prefix.examples
        if share < 1:
            state = {name: _shortened(tokens, share, longest) for name, tokens in state.items()}
            numbers = count(state, {})
        state = self._without_closed(buckets, "start", state, read_counts((yield numbers), state, {}))
        gates: LayerGates = {}
        present: dict[GateKey, jax.Array] = {}
        for stage in self._stages:
            if isinstance(stage, str):
                prefix = self._frame.segment(stage, Prefix(state, examples))
                state, examples = prefix.state, prefix.examples
                continue
            own, decided, ahead = {side: state[side] for side in stage.sides}, None, None
            if trim is not None and stage.trims_at_once:
                own, decided, ahead = stage.decide(own, examples, trim)
            for start, stop in stage.stretches(self.config.every):
                wanted = None
                if decided is not None and ahead is not None and self._pauses_before(stage.name, start):
                    counts = read_counts((yield ahead), own, decided)
                    own, wanted = self._without_closed(buckets, stage.name, own, counts), counts.heads
                if lengths is not None:
                    lengths += [(stage.name, {side: part.gate.size for side, part in own.items()})] * (stop - start)
                own, more, decided, ahead = stage.advance(
                    start, stop, own, decided, examples, trim, wanted, group_heads
                )
                for key, layers in more.items():
                    gates.setdefault(key, []).extend(layers)
                    present[key] = examples.present[key.side]
            state |= own
        return self._frame.read_out(state, gates, present)

    def _pauses_before(self, stage: str, layer: int) -> bool:
        return self.pauses is None or (stage, layer) in self.pauses

    def _without_closed(self, buckets: Buckets, stage: str, state: State, counts: Counts) -> State:
        """The state, every side in the bucket that is chosen for the stage."""
        before = {side: _bucket(state[side]) for side in sorted(state)}
        sides = [Occupancy(state[side].shape, bucket, *counts.tokens[side]) for side, bucket in before.items()]
        chosen = buckets.choose(stage, sides)
        compacted = dict(state)
        for side, bucket in zip(before, chosen, strict=True):
            if bucket != before[side]:
                compacted[side] = _compact(state[side], bucket.packed_length, bucket.row_capacity)
        return compacted


def _bucket(tokens: Tokens) -> Bucket:
    row_capacity = tokens.row_capacity if isinstance(tokens, Packed) else tokens.shape[1]
    return Bucket(tokens.gate.size, row_capacity)


class _InFlight:
    """A batch in flight: the coroutine that executes it, the counts it waits for, its output at the end."""

    def __init__(self, execution: Generator[jax.Array, np.ndarray, Output]):
        self._execution, self._waiting = execution, next(execution)
        self._output: Output | None = None

    def step(self) -> Output | None:
        """Hands over the counts and goes on to the next wait; the output once there is one."""
        if self._output is None:
            try:
                self._waiting = self._execution.send(np.asarray(self._waiting))
            except StopIteration as end:
                self._output = end.value
        return self._output

    def result(self, others: Sequence["_InFlight"] = ()) -> Output:
        """Goes to the end, giving the others a step for each of its own."""
        while (output := self.step()) is None:
            for other in others:
                other.step()
        return output


def _shortened(tokens: Tokens, share: float, longest: float) -> Tokens:
    """With only the first tokens of every example open."""
    examples, length = tokens.shape
    kept = np.full(examples, max(int(share * length), 1))
    kept[0] = min(int(longest * share * length) + 1, length) if longest > 1 else kept[0]
    return tokens.close(jnp.asarray(np.arange(length) < kept[:, None], jnp.float32))


def _totals(record: TrimRecord) -> GatesByKey:
    """The record's gates, summed over the batch."""
    return jax.tree.map(lambda gates: np.asarray(gates).sum(axis=1), record.gates)


def _tokens(totals: GatesByKey) -> float:
    """Tokens that all layers together keep."""
    return float(sum(gates.tokens.sum() for gates in totals.values()))


_compact = jax.jit(compact, static_argnums=(1, 2))
