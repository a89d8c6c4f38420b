"""Binary gates (sampled and differentiable in training, a hard threshold in evaluation), and their record."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.capacity import FITTING, CapacityConfig

LEAST_NOISE = 0.01
"""What `fade` takes for less noise, with which its gradient would not be finite."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trim:
    """How the trimmers decide in one pass. All numbers may be traced, so that changing them compiles nothing.

    Attributes:
        offset: Number added to each `keep - drop` logit, the speed dial's setting (see `trimming.calibration`): a
            scalar for all examples, or `[batch]`, one for each example. Higher keeps more.
        temperature: Temperature of the Gumbel-softmax in training.
        noise: Scale of the Gumbel noise in training; at 0 the decisions are those of evaluation. Where tokens fade
            instead (see `fade`), how gradually.
        capacity: How many tokens a training pass keeps in memory; by default all of them.
    """

    offset: Float[Array, "*batch"] | float = 0.0
    temperature: Float[Array, ""] | float = 1.0
    noise: Float[Array, ""] | float = 1.0
    capacity: CapacityConfig = dataclasses.field(default=CapacityConfig(), metadata={"static": True})

    def check(self, examples: int) -> None:
        """Checks that a batch can be trimmed with this offset.

        Args:
            examples: Number of examples of the batch.

        Raises:
            ConfigError: There is one offset per example for another number of examples.
        """
        if jnp.ndim(self.offset) and jnp.shape(self.offset) != (examples,):
            raise ConfigError(
                f"Trim.offset has shape {jnp.shape(self.offset)} for {examples} examples; give one number, "
                "or one for each"
            )

    def laid_out(self, rows: int, spread: Callable[[Array], Array]) -> "Trim":
        """Lays out per-example offsets so that they broadcast against decisions.

        Args:
            rows: Number of images or texts in the batch, a multiple of the number of examples.
            spread: Function from one number per row, `[rows]`, to an array that broadcasts against the decisions.

        Returns:
            The same settings with the laid-out offset; unchanged if one offset holds for all examples.
        """
        if jnp.ndim(self.offset) == 0:
            return self
        offset = jnp.asarray(self.offset)
        return dataclasses.replace(self, offset=spread(jnp.repeat(offset, rows // offset.shape[0])))


class GateKey(NamedTuple):
    """Identifies gates of a pass: those that one run of layers decides about one side of the model's state.

    A plain pair finds the same entry: `record.gates["fusion", "text"]`.

    Attributes:
        run: The name of the run of layers; an encoder's run has the name of its side.
        side: The side whose tokens may be closed.
    """

    run: str
    side: str

    @property
    def name(self) -> str:
        """The key as one word for parameters and reports, such as `image` or `fusion_text`."""
        return self.side if self.run == self.side else f"{self.run}_{self.side}"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gates:
    """The gates of one layer, or those of a run of layers with a leading axis of layers; 1 open, 0 closed.

    Attributes:
        tokens: `[batch, tokens]`, the tokens that the layer still reads; cumulative over layers, and 0 for padding.
        heads: `[batch, heads]`, the heads of self-attention; None for a side that the layer only reads.
        cross_heads: `[batch, heads]`, the heads of cross-attention; None where there is none.
        twin_heads: `[batch, heads]`, the heads of a second cross-attention (NLVR2's second image); None where there
            is none.
    """

    tokens: Float[Array, "*layers batch tokens"]
    heads: Float[Array, "*layers batch heads"] | None = None
    cross_heads: Float[Array, "*layers batch cross_heads"] | None = None
    twin_heads: Float[Array, "*layers batch twin_heads"] | None = None

    @property
    def modules(self) -> dict[str, Float[Array, "*layers batch heads"]]:
        """The head gates of each attention module that exists, by field name."""
        fields = {name: getattr(self, name) for name in ("heads", "cross_heads", "twin_heads")}
        return {name: gate for name, gate in fields.items() if gate is not None}


GatesByKey = dict[GateKey, Gates]

T = TypeVar("T")
TokensT = TypeVar("TokensT", bound=Tokens)


@jax.tree_util.register_pytree_with_keys_class
class ByGateKey(dict[GateKey, T]):
    """A dict by gate keys, whose entries are called by the keys' names in the paths of a pytree.

    Tools that print such paths (`nnx.tabulate`) accept only words as keys.
    """

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, T]], tuple[GateKey, ...]]:
        """Returns the entries with their paths, and the keys, in the order of the keys; called by JAX."""
        keys = tuple(sorted(self))
        return [(jax.tree_util.DictKey(key.name), self[key]) for key in keys], keys

    def tree_flatten(self) -> tuple[list[T], tuple[GateKey, ...]]:
        """Returns the entries without paths, and the keys, in the order of the keys; called by JAX."""
        keys = tuple(sorted(self))
        return [self[key] for key in keys], keys

    @classmethod
    def tree_unflatten(cls, keys: tuple[GateKey, ...], entries: Sequence[T]) -> "ByGateKey[T]":
        """Rebuilds the dict; called by JAX.

        Args:
            keys: Gate keys in the order that `tree_flatten` gave.
            entries: The entry of each key.

        Returns:
            The dict.
        """
        return cls(zip(keys, entries, strict=True))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrimRecord:
    """All gates of one forward pass.

    Attributes:
        gates: The gates of each run and side, with a leading axis of layers.
        present: `[batch, tokens]` for each run and side, 1 for tokens that are no padding.
    """

    gates: GatesByKey = dataclasses.field(default_factory=dict)
    present: dict[GateKey, Float[Array, "batch tokens"]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("gates", "present"):
            value = getattr(self, name)
            if type(value) is dict:
                object.__setattr__(self, name, ByGateKey(value))

    def opened(self) -> "TrimRecord":
        """The record of the same inputs at full capacity: everything is open except padding."""
        gates = {
            key: Gates(
                jnp.broadcast_to(self.present[key], gate.tokens.shape),
                **jax.tree.map(jnp.ones_like, gate.modules),
            )
            for key, gate in self.gates.items()
        }
        return TrimRecord(gates, self.present)

    def of_runs(self, *runs: str) -> "TrimRecord":
        """Selects the gates of some runs of layers.

        Args:
            *runs: Names of the runs.

        Returns:
            A record of these runs alone.
        """
        return TrimRecord(
            {key: gate for key, gate in self.gates.items() if key.run in runs},
            {key: present for key, present in self.present.items() if key.run in runs},
        )

    def of_rows(self, rows: slice) -> "TrimRecord":
        """Selects some rows of the batch.

        Args:
            rows: Which rows.

        Returns:
            A record of these rows alone.
        """
        gates: GatesByKey = jax.tree.map(lambda gate: gate[:, rows], self.gates)
        present: dict[GateKey, Any] = jax.tree.map(lambda there: there[rows], self.present)
        return TrimRecord(gates, present)

    def overflow(self, capacity: CapacityConfig) -> Float[Array, ""]:
        """Computes the share of open tokens that found no place when closed tokens were removed from memory.

        Args:
            capacity: The capacity with which the recorded pass ran; at least one encoder removes tokens.

        Returns:
            The share among tokens that were open before the removal, a scalar.
        """
        lost = jnp.zeros((), jnp.float32)
        opened = jnp.zeros((), jnp.float32)
        for side in capacity.sides:
            counts, tokens = self._before_removal(side, capacity)
            lost += jnp.sum(jnp.maximum(counts - capacity.places(side, tokens), 0.0))
            opened += jnp.sum(counts)
        return lost / opened

    def need(self, side: str, capacity: CapacityConfig) -> Float[Array, ""]:
        """Computes the share of an encoder's tokens that nearly all examples have open where tokens would be removed.

        Args:
            side: "image" or "text".
            capacity: It says before which layer.

        Returns:
            The share that suffices for `FITTING` of the examples, a scalar.
        """
        counts, tokens = self._before_removal(side, capacity)
        return jnp.quantile(counts, FITTING) / tokens

    def _before_removal(self, side: str, capacity: CapacityConfig) -> tuple[Float[Array, " batch"], int]:
        """The open tokens of each example before the removal, and the number of all its tokens."""
        tokens = self.gates[GateKey(side, side)].tokens
        return jnp.sum(tokens[capacity.point(len(tokens)) - 1], axis=-1), tokens.shape[-1]

    def __or__(self, other: "TrimRecord") -> "TrimRecord":
        """Joins the records of two passes over the same examples."""
        return TrimRecord(self.gates | other.gates, self.present | other.present)


def decide(logits: Float[Array, "... 2"], trim: Trim, key: jax.Array | None) -> Float[Array, "..."]:
    """Decides open or closed from the logits (keep, drop).

    With a key, this is a straight-through Gumbel-softmax: exactly 0 or 1 in the forward pass, with the gradient of
    the relaxed sample in the backward pass. Without a key, a gate is open where `keep + offset >= drop`, without
    noise.

    Args:
        logits: Logits (keep, drop) of each decision, `[..., 2]`; computed in float32.
        trim: Offset, temperature and noise; the offset must broadcast against `[...]`.
        key: Random key of training; None for evaluation.

    Returns:
        1 open, 0 closed, `[...]`, float32.
    """
    return _decide(logits, trim, None if key is None else jax.random.logistic(key, logits.shape[:-1], jnp.float32))


def decide_all(
    decisions: Sequence[tuple[Float[Array, "... 2"], Trim]], key: jax.Array | None
) -> list[Float[Array, "..."]]:
    """Takes several kinds of decisions about the same rows; see `decide`.

    The noise of all kinds comes from one draw, since a random number generator for every kind would have to be
    compiled too.

    Args:
        decisions: For each kind, its logits, and offset, temperature and noise. In training the logits are
            `[rows, decisions, 2]`.
        key: Random key of training; None for evaluation.

    Returns:
        The gates of each kind.
    """
    if key is None or not decisions:
        return [decide(logits, trim, None) for logits, trim in decisions]
    counts = [logits.shape[1] for logits, _ in decisions]
    noise = jax.random.logistic(key, (decisions[0][0].shape[0], sum(counts)), jnp.float32)
    parts = jnp.split(noise, np.cumsum(counts)[:-1], axis=1)
    return [_decide(logits, trim, part) for (logits, trim), part in zip(decisions, parts, strict=True)]


def _decide(logits: Float[Array, "... 2"], trim: Trim, noise: Float[Array, "..."] | None) -> Float[Array, "..."]:
    """Implements `decide`; the difference of two Gumbel samples is distributed like one logistic sample."""
    logits = logits.astype(jnp.float32)
    margin = logits[..., 0] - logits[..., 1] + trim.offset
    if noise is None:
        return (margin >= 0).astype(jnp.float32)
    soft = jax.nn.sigmoid((margin + trim.noise * noise) / trim.temperature)
    hard: Bool[Array, "..."] = soft >= 0.5
    return hard.astype(jnp.float32) + (soft - jax.lax.stop_gradient(soft))


def fade(logits: Float[Array, "... 2"], tokens: TokensT, trim: Trim, key: jax.Array) -> TokensT:
    """Closes tokens in part in training, and lets noise take the place of what is closed.

    A gate is the probability to keep, `p = sigmoid((keep - drop + offset) / softness)`, where the softness is the
    temperature times `Trim.noise`, so that decisions end as those of evaluation where the noise fades. A vector x
    becomes `sqrt(p) x + sqrt(1 - p) e`, with e normal and as long as x on average: its variance stays, what it says
    is lost as far as it is closed. No gradient is made up, unlike that of `decide`. Follows the variance-preserving
    noise gate of AutoSelect (arXiv 2603.07135), which has no gates in attention and keeps a fixed number of tokens.

    Args:
        logits: Logits (keep, drop) of each token, `[..., 2]`; computed in float32.
        tokens: The tokens, in a layout of training.
        trim: Offset, temperature and noise; the offset must broadcast against `[...]`.
        key: Random key of training.

    Returns:
        The faded tokens, with gates between 0 and 1. The first token of an example stays as it is.
    """
    logits = logits.astype(jnp.float32)
    softness = trim.temperature * jnp.maximum(trim.noise, LEAST_NOISE)
    margin = (logits[..., 0] - logits[..., 1] + trim.offset) / softness
    x = tokens.values.astype(jnp.float32)
    length = jnp.sqrt(jnp.mean(jnp.square(jax.lax.stop_gradient(x)), axis=-1, keepdims=True))
    noise = jax.random.normal(key, x.shape, jnp.float32) * length
    # By the logarithm, since the square root has no finite gradient at 0.
    said, lost = (jnp.exp(0.5 * jax.nn.log_sigmoid(each))[..., None] for each in (margin, -margin))
    is_first = tokens.look_up(jnp.zeros(tokens.shape).at[:, 0].set(1.0))[..., None] > 0
    faded = jnp.where(is_first, x, said * x + lost * noise).astype(tokens.values.dtype)
    return tokens.replace(faded).close(jax.nn.sigmoid(margin))


def open_gates(tokens: Tokens, heads: int, *, sources: int = 0) -> Gates:
    """Makes the gates of a layer that trims nothing.

    Args:
        tokens: The tokens of one side; their own gates stay as they are.
        heads: Heads of each attention module of the layer; 0 for a side that the layer only reads.
        sources: Number of sides that the layer reads by cross-attention, 0 to 2.

    Returns:
        The layer's gates, with all heads open.
    """
    read = tokens.padded_gate
    read = jnp.where(read > 1, 1.0, read)  # a merged token is read once, however many it stands for
    if not heads:
        return Gates(read)
    gate = jnp.ones((tokens.shape[0], heads), jnp.float32)
    return Gates(read, gate, gate if sources > 0 else None, gate if sources > 1 else None)
