"""Binary gates: sampled and differentiable in training, a hard threshold in evaluation; and their record."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.capacity import CapacityConfig


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trim:
    """How the trimmers decide in one pass; all numbers may be traced, so that changing them compiles nothing.

    Attributes:
        offset: added to every `keep - drop` logit: the speed dial (see `trimming.calibration`), one for all examples
            or `[batch]`, for every example its own.
        temperature: of the Gumbel-softmax in training.
        noise: scale of the Gumbel noise in training; at 0 the decisions are those of evaluation.
        capacity: what a training pass holds of its tokens; by default all.
    """

    offset: Float[Array, "*batch"] | float = 0.0
    temperature: Float[Array, ""] | float = 1.0
    noise: Float[Array, ""] | float = 1.0
    capacity: CapacityConfig = dataclasses.field(default=CapacityConfig(), metadata={"static": True})

    def check(self, examples: int) -> None:
        """Whether a batch of so many examples can be trimmed so.

        Raises:
            ConfigError: offsets for another number of examples.
        """
        if jnp.ndim(self.offset) and jnp.shape(self.offset) != (examples,):
            raise ConfigError(
                f"Trim.offset has shape {jnp.shape(self.offset)} for {examples} examples; give one number, "
                "or one for each"
            )

    def laid_out(self, rows: int, spread: Callable[[Array], Array]) -> "Trim":
        """The same, every example's own offset laid out beside the decisions of its rows.

        Args:
            rows: images or texts of the batch, a whole number for each example.
            spread: from one number per row to what broadcasts against the decisions.
        """
        if jnp.ndim(self.offset) == 0:
            return self
        offset = jnp.asarray(self.offset)
        return dataclasses.replace(self, offset=spread(jnp.repeat(offset, rows // offset.shape[0])))


class GateKey(NamedTuple):
    """Which gates of a pass: those that one run of layers decides about one side of the model's state.

    A plain pair finds the same entry: `record.gates["fusion", "text"]`.

    Attributes:
        run: The run of layers; an encoder's run is called by its side.
        side: The side whose tokens may be closed.
    """

    run: str
    side: str

    @property
    def name(self) -> str:
        """The key as one word, for parameters and reports: `image`, `fusion_text`."""
        return self.side if self.run == self.side else f"{self.run}_{self.side}"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gates:
    """The gates of one layer, or with a leading axis of layers those of a run; 1 open, 0 closed.

    Attributes:
        tokens: `[batch, tokens]`, cumulative: what the layer still reads; padding is 0.
        heads: `[batch, heads]` of self-attention; None for a side that the layer only reads.
        cross_heads: `[batch, heads]` of cross-attention, where there is one.
        twin_heads: `[batch, heads]` of a second cross-attention, where there is one (NLVR2's second image).
    """

    tokens: Float[Array, "*layers batch tokens"]
    heads: Float[Array, "*layers batch heads"] | None = None
    cross_heads: Float[Array, "*layers batch heads"] | None = None
    twin_heads: Float[Array, "*layers batch heads"] | None = None

    @property
    def modules(self) -> dict[str, Float[Array, "*layers batch heads"]]:
        """The gates of heads, by field, of every attention module that there is."""
        fields = {name: getattr(self, name) for name in ("heads", "cross_heads", "twin_heads")}
        return {name: gate for name, gate in fields.items() if gate is not None}


GatesByKey = dict[GateKey, Gates]

T = TypeVar("T")


@jax.tree_util.register_pytree_with_keys_class
class ByGateKey(dict[GateKey, T]):
    """A dict by gate keys whose entries are called by the keys' names in the paths of a tree.

    Tools that write such paths down (`nnx.tabulate`) know only words.
    """

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, T]], tuple[GateKey, ...]]:
        """The entries in the order of their keys; called by JAX."""
        keys = tuple(sorted(self))
        return [(jax.tree_util.DictKey(key.name), self[key]) for key in keys], keys

    def tree_flatten(self) -> tuple[list[T], tuple[GateKey, ...]]:
        """The same without paths; called by JAX."""
        keys = tuple(sorted(self))
        return [self[key] for key in keys], keys

    @classmethod
    def tree_unflatten(cls, keys: tuple[GateKey, ...], entries: Sequence[T]) -> "ByGateKey[T]":
        """The dict of these entries; called by JAX."""
        return cls(zip(keys, entries, strict=True))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrimRecord:
    """Every gate of one forward pass.

    Attributes:
        gates: The gates of every run and side, with a leading axis of layers.
        present: `[batch, tokens]` for each of them, 1 for tokens that are no padding.
    """

    gates: GatesByKey = dataclasses.field(default_factory=dict)
    present: dict[GateKey, Float[Array, "batch tokens"]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("gates", "present"):
            value = getattr(self, name)
            if type(value) is dict:
                object.__setattr__(self, name, ByGateKey(value))

    def opened(self) -> "TrimRecord":
        """The record of the same inputs at full capacity: everything open but padding."""
        gates = {
            key: Gates(
                jnp.broadcast_to(self.present[key], gate.tokens.shape),
                **jax.tree.map(jnp.ones_like, gate.modules),
            )
            for key, gate in self.gates.items()
        }
        return TrimRecord(gates, self.present)

    def of_runs(self, *runs: str) -> "TrimRecord":
        """The part of the record that belongs to some runs of layers."""
        return TrimRecord(
            {key: gate for key, gate in self.gates.items() if key.run in runs},
            {key: present for key, present in self.present.items() if key.run in runs},
        )

    def overflow(self, capacity: CapacityConfig) -> Float[Array, ""]:
        """The share of the tokens that were open where others left memory, but did not fit."""
        lost = jnp.zeros((), jnp.float32)
        opened = jnp.zeros((), jnp.float32)
        for side in capacity.sides:
            tokens = self.gates[GateKey(side, side)].tokens
            counts = jnp.sum(tokens[capacity.layer(side, len(tokens)) - 1], axis=-1)
            lost += jnp.sum(jnp.maximum(counts - capacity.places(side, tokens.shape[-1]), 0.0))
            opened += jnp.sum(counts)
        return lost / opened

    def __or__(self, other: "TrimRecord") -> "TrimRecord":
        """The gates of two passes over the same examples."""
        return TrimRecord(self.gates | other.gates, self.present | other.present)


def decide(logits: Float[Array, "... 2"], trim: Trim, key: jax.Array | None) -> Float[Array, "..."]:
    """Open or closed from the logits (keep, drop).

    With a key, a straight-through Gumbel-softmax: exactly 0 or 1 forward, the relaxed sample's gradient
    backward. Without one, open where `keep + offset >= drop`, with no noise.
    """
    logits = logits.astype(jnp.float32)
    margin = logits[..., 0] - logits[..., 1] + trim.offset
    if key is None:
        return (margin >= 0).astype(jnp.float32)
    # The difference of two Gumbel samples is one logistic sample.
    noise = trim.noise * jax.random.logistic(key, margin.shape, jnp.float32)
    soft = jax.nn.sigmoid((margin + noise) / trim.temperature)
    hard: Bool[Array, "..."] = soft >= 0.5
    return hard.astype(jnp.float32) + (soft - jax.lax.stop_gradient(soft))


def open_gates(tokens: Tokens, heads: int, *, sources: int = 0) -> Gates:
    """The gates of a layer that trims nothing.

    Args:
        tokens: of one side.
        heads: of the layer's attention modules; 0 for a side that it only reads.
        sources: sides that the layer reads by cross-attention.
    """
    if not heads:
        return Gates(tokens.padded_gate)
    gate = jnp.ones((tokens.shape[0], heads), jnp.float32)
    return Gates(tokens.padded_gate, gate, gate if sources > 0 else None, gate if sources > 1 else None)
