"""Packed execution as one program: closed tokens leave memory at a few cuts, where the device chooses the bucket.

Between two cuts lies a stretch of layers. Its branches differ in how many tokens they hold, and `lax.switch` takes
the smallest one that holds the batch's open tokens: it compacts the state to its bucket, computes the stretch, and
widens the state to the size that all branches share. The host is not involved, so a call is one dispatch, and the
program can be exported.
"""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from smarttrim_jax.execution.buckets import Bucket
from smarttrim_jax.execution.cuts import Cut, Shares
from smarttrim_jax.models.base import Output, VisionLanguageModel
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.models.segments import ExampleInfo, LayerRun, Segment, Stages, State, make_record
from smarttrim_jax.nn.layer_stack import fold
from smarttrim_jax.tokens import Packed, Tokens, compact
from smarttrim_jax.tokens.rounding import round_up
from smarttrim_jax.trimming.gates import GatesByKey, Trim, TrimRecord

EVERYTHING = Shares(1.0, 1.0)
BRANCH = "branch_of_share_"
"""What the operations of a branch are named by, in profiles and in compiled programs, before the branch's number."""


def packed_apply(
    model: Functional,
    cuts: Sequence[Cut],
    multiple: int,
    params: Params,
    images: Array,
    ids: Array | None,
    mask: Array | None,
    trim: Trim,
) -> Output:
    """Computes a model's call for evaluation, leaving out the work of closed tokens.

    Args:
        model: The model as functions of its parameters.
        cuts: Where closed tokens leave memory.
        multiple: Buckets are rounded up to multiples of it.
        params: The model's parameters.
        images: Normalised images, `[batch, height, width, 3]` or `[batch, images, height, width, 3]`.
        ids: Token ids of the texts, `[batch, tokens]`; None for a model of images alone.
        mask: 1 for tokens, 0 for padding, `[batch, tokens]`; None where there are no ids.
        trim: How the trimmers decide.

    Returns:
        The output of the call, equal to that of padded execution for open tokens. The tokens of its state are packed.
    """
    bound: VisionLanguageModel = model.bind(params)
    prefix = bound.start(images, ids, mask)
    state, examples = prefix.state, prefix.examples
    decided: GatesByKey = {}
    gates: dict[str, list[GatesByKey]] = collections.defaultdict(list)
    record = TrimRecord()
    branches: tuple[dict[str, Shares], ...] = ()
    for stretch, cut in _stretches(bound.stages, cuts):
        compute = _computation(stretch, examples, trim)
        state, decided, made = _switch(compute, branches, multiple, state, decided)
        for name, parts in made.items():
            gates[name] += parts
        for part in stretch:
            if isinstance(part.stage, Segment):
                examples = examples.replace(part.stage.present(examples.present))
            elif part.stop == part.stage.depth and not part.is_cut:
                whole = jax.tree.map(lambda *parts: jnp.concatenate(parts), *gates[part.stage.name])
                record |= make_record(whole, examples)
        branches = () if cut is None else cut.branches
    return bound.read_out(state, record)


@dataclasses.dataclass(frozen=True)
class _Part:
    """A segment, or some consecutive layers of a run.

    Attributes:
        stage: The segment or the run.
        start: Index of the first layer.
        stop: Index behind the last layer.
        is_cut: Whether a cut follows, so that layer `stop` has to decide.
    """

    stage: Segment | LayerRun
    start: int = 0
    stop: int = 0
    is_cut: bool = False


def _stretches(stages: Stages, cuts: Sequence[Cut]) -> list[tuple[list[_Part], Cut | None]]:
    """Divides a model's stages at the cuts; gives the parts of each stretch and the cut that follows."""
    stretches: list[tuple[list[_Part], Cut | None]] = []
    parts: list[_Part] = []
    for stage in stages:
        if isinstance(stage, Segment):
            parts.append(_Part(stage))
            continue
        start = 0
        for cut in sorted((cut for cut in cuts if cut.run == stage.name), key=lambda cut: cut.layer):
            parts.append(_Part(stage, start, cut.layer, is_cut=True))
            stretches.append((parts, cut))
            parts, start = [], cut.layer
        parts.append(_Part(stage, start, stage.depth))
    return [*stretches, (parts, None)]


Made = dict[str, list[GatesByKey]]
"""Gates of some layers, by the name of the run."""
Computed = tuple[State, GatesByKey, Made]
"""What a stretch returns: the state, the gates of the layer that has decided already, and those of all its layers."""
Compute = Callable[[State, GatesByKey], Computed]


def _computation(stretch: Sequence[_Part], examples: ExampleInfo, trim: Trim) -> Compute:
    """The function that computes a stretch, from the gates of its first layer where that has decided."""

    def compute(state: State, decided: GatesByKey) -> Computed:
        known, made = examples, {}
        for part in stretch:
            if isinstance(part.stage, Segment):
                known = known.replace(part.stage.present(known.present))
                state = part.stage.apply(state)
            else:
                state, decided, made[part.stage.name] = _layers(part, state, decided, known, trim)
        return state, decided, made

    return compute


def _layers(
    part: _Part, state: State, decided: GatesByKey, examples: ExampleInfo, trim: Trim
) -> tuple[State, GatesByKey, list[GatesByKey]]:
    """Computes consecutive layers of a run; returns the state, the gates of the layer at a cut, and all new gates."""
    run, start = part.stage, part.start
    assert isinstance(run, LayerRun)
    made: list[GatesByKey] = []

    def advance(modules: Any, policies: None, state: State, inputs: Any) -> tuple[State, None]:
        return run.advance(modules, state, decided, None, inputs[1]), None

    def decide(modules: Any, policies: Any, state: State, inputs: Any) -> tuple[State, GatesByKey]:
        return run.decide(policies, modules, inputs[0], state, examples, trim, None)

    def decide_and_advance(modules: Any, policies: Any, state: State, inputs: Any) -> tuple[State, GatesByKey]:
        state, gates = decide(modules, policies, state, inputs)
        return run.advance(modules, state, gates, None, inputs[1]), gates

    def over(step: Callable[..., Any], state: State, start: int, stop: int, late: Any) -> tuple[State, Any]:
        inputs = jnp.arange(run.depth), run.inputs
        first = run.first_layer
        where: dict[str, Any] = {"depth": run.depth, "start": start, "stop": stop, "scan": run.scan}
        return fold(step, state, run.layers, inputs, late=late, first=first, **where)

    policies = run.policies or None
    if decided:
        state, _ = over(advance, state, start, start + 1, None)
        start += 1
    if start < part.stop:
        state, gates = over(decide_and_advance, state, start, part.stop, policies)
        made.append(gates)
    if not part.is_cut:
        return state, {}, made
    state, gates = over(decide, state, part.stop, part.stop + 1, policies)
    return state, jax.tree.map(lambda gate: gate[0], gates), [*made, gates]


def _switch(
    compute: Compute, branches: Sequence[dict[str, Shares]], multiple: int, state: State, decided: GatesByKey
) -> Computed:
    """Computes a stretch in the smallest branch that holds the open tokens; without branches, as the state is."""
    if not branches:
        return compute(state, decided)
    buckets: list[dict[str, Bucket]] = []
    names: list[str] = []
    for number, shares in enumerate((*branches, {})):
        bucket = {side: _bucket(tokens, shares.get(side, EVERYTHING), multiple) for side, tokens in state.items()}
        if bucket not in buckets:
            buckets.append(bucket)
            names.append(f"{BRANCH}{number}")

    def branch(bucket: dict[str, Bucket], name: str) -> Compute:
        @jax.named_scope(name)
        def in_bucket(state: State, decided: GatesByKey) -> Computed:
            small: State = {
                side: compact(tokens, bucket[side].packed_length, bucket[side].row_capacity)
                for side, tokens in state.items()
            }
            small, decided, made = compute(small, decided)
            return {side: _widened(tokens) for side, tokens in small.items()}, decided, made

        return in_bucket

    fits = jnp.stack([_fits(state, bucket) for bucket in buckets])
    computed: Computed = jax.lax.switch(jnp.argmax(fits), list(map(branch, buckets, names)), state, decided)
    return computed


def _bucket(tokens: Tokens, shares: Shares, multiple: int) -> Bucket:
    """The bucket that holds these shares of a side's tokens, and at least the global token of every example."""
    batch, length = tokens.shape
    packed_length = min(round_up(max(shares.batch * length, 1.0) * batch, multiple), batch * length)
    if batch == 1:
        return Bucket(packed_length, packed_length)
    return Bucket(packed_length, min(round_up(max(shares.longest * length, 1.0), multiple), length))


def _fits(state: State, bucket: dict[str, Bucket]) -> Bool[Array, ""]:
    """Whether each side's open tokens fit into its bucket."""
    parts = []
    for side, tokens in state.items():
        counts = tokens.counts
        parts += [jnp.sum(counts) <= bucket[side].packed_length, jnp.max(counts) <= bucket[side].row_capacity]
    return jnp.all(jnp.stack(parts))


def _widened(tokens: Tokens) -> Packed:
    """The same tokens in the memory that holds all tokens of the side."""
    assert isinstance(tokens, Packed)
    batch, length = tokens.shape
    more = (0, batch * length - tokens.gate.size)
    return Packed(
        jnp.pad(tokens.values, (more, (0, 0))),
        jnp.pad(tokens.gate, more),
        jnp.pad(tokens.row, more, constant_values=batch),
        jnp.pad(tokens.position, more),
        tokens.start,
        length,
        length,
    )
