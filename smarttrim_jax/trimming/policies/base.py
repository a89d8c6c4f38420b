"""The protocol of trimming policies, which decide the tokens and heads that a layer can do without."""

import abc
import dataclasses
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Integer

from smarttrim_jax.configuration import Settings, Variants
from smarttrim_jax.ranges import NonNegativeInt
from smarttrim_jax.registry import Registry
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.gates import Gates, Trim

T = TypeVar("T", bound=Tokens)


@dataclasses.dataclass(frozen=True)
class RunTrimming(Settings):
    """What is trimmed in one run of layers, and from which layer on.

    Attributes:
        tokens: Trim tokens.
        heads: Trim attention heads (self- and cross-attention).
        first_layer: The first layer that trims, counted from 0; those before keep everything.
    """

    tokens: bool = True
    heads: bool = True
    first_layer: NonNegativeInt = 0

    def trims(self, depth: int) -> bool:
        """Tells whether anything is trimmed in a run of layers.

        Args:
            depth: Number of layers of the run.

        Returns:
            Whether tokens or heads are trimmed in at least one layer.
        """
        return (self.tokens or self.heads) and self.first_layer < depth


@dataclasses.dataclass(frozen=True)
class SideShape:
    """The sizes of one side of a layer, which a policy decides about.

    Attributes:
        width: Width of the side's tokens.
        heads: Heads of each of its attention modules; 0 for a side that the layer only reads.
        other_widths: Widths of the other sides that the decision may look at. For a side with heads these are the
            sides that the layer reads by cross-attention, one module each.
    """

    width: int
    heads: int
    other_widths: tuple[int, ...] = ()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LayerContext:
    """What a decision may look at beside the side's own tokens.

    Attributes:
        others: The global tokens of the other sides, `[rows, width]` each.
        present: `[rows, tokens]`, 1 for tokens that are no padding, at their original positions.
        seed: `[rows]`, a number that depends on each example's own inputs; None unless the policy draws at random.
        layer: The layer's module for this side, for a policy with `reads_layer`, which may score by its attention;
            None for other policies, and for a side that the layer only reads.
        index: The layer's index in its run, from 0; a traced number where layers are scanned over.
    """

    others: tuple[Float[Array, "rows width"], ...]
    present: Float[Array, "rows tokens"]
    seed: Integer[Array, " rows"] | None = None
    layer: Any = dataclasses.field(default=None, repr=False)  # nnx.tabulate prints the arguments of a module's call
    index: Int[Array, ""] | int = 0


class Decided(NamedTuple, Generic[T]):
    """A policy's decision about one side of one layer.

    Attributes:
        tokens: The layer's input with more tokens closed, or with other values where tokens are merged.
        gates: The layer's gates of this side.
    """

    tokens: T
    gates: Gates


class Policy(nnx.Module):
    """Decides, at the start of a layer, which tokens and heads of one of its sides stay open.

    A subclass may have parameters; those of all layers of a run are stacked. The first token of an example (its
    global token) must not close, padding must not open, and a decision must depend on the example alone.

    Attributes:
        reads_layer: Whether decisions need `LayerContext.layer`. Only then does packed execution pass a layer's
            weights to the program of the layer before.
    """

    reads_layer: ClassVar[bool] = False

    @abc.abstractmethod
    def __call__(self, tokens: T, context: LayerContext, trim: Trim, *, key: jax.Array | None = None) -> Decided[T]:
        """Decides about one side of one layer.

        Args:
            tokens: The layer's input, in any layout.
            context: What else the decision may look at.
            trim: How to decide: the speed dial's offset, and the temperature and noise of sampled gates.
            key: Random key of training; None decides as in evaluation, without noise.

        Returns:
            The layer's input after the decision, and its gates.
        """


class PolicyConfig(Variants):
    """Configuration of a policy: a frozen dataclass that derives from this, registered by `register_policy`.

    Its field `policy` is a `Literal` of the name that it is registered by.

    Attributes:
        policy: The name of the policy.
        has_dial: Whether `Trim.offset` changes how much stays open, the more the higher it is.
        draws: Whether decisions need `LayerContext.seed`.
        is_steered: Whether training moves the dial so that the MACs follow the curriculum, for a policy whose
            decisions have no gradients that the cost could train.
    """

    TAG: ClassVar[str] = "policy"
    KINDS: ClassVar[Registry["type[PolicyConfig]"]] = Registry("trimming policy")

    policy: str
    has_dial: ClassVar[bool] = True
    draws: ClassVar[bool] = False
    is_steered: ClassVar[bool] = False

    @property
    def weighs_tokens(self) -> bool:
        """Whether attention must weigh tokens by their gates, since these may be other numbers than 0 and 1."""
        return False

    @abc.abstractmethod
    def build(self, side: SideShape, where: RunTrimming, *, rngs: nnx.Rngs) -> Policy:
        """Builds the policy of one side of one layer.

        Args:
            side: The side's sizes.
            where: What it may trim.
            rngs: Random numbers of the initial weights.

        Returns:
            The policy, with fresh parameters.
        """

    @abc.abstractmethod
    def macs(
        self, gates: Gates, entering: Float[Array, "batch tokens"], side: SideShape, where: RunTrimming
    ) -> Float[Array, " batch"]:
        """Counts the multiply-adds of the policy itself over a run of layers.

        Args:
            gates: The gates of the run, with a leading axis of layers.
            entering: `[batch, tokens]`, 1 for tokens that are open before the run.
            side: The side's sizes.
            where: What is trimmed, and from which layer on.

        Returns:
            MACs of each example, `[batch]`.
        """


def tokens_entering(
    gates: Gates, entering: Float[Array, "batch tokens"], where: RunTrimming
) -> Float[Array, "layers batch tokens"]:
    """Finds the tokens that enter each layer that trims, which are those a policy scores.

    Args:
        gates: The gates of a run, with a leading axis of layers.
        entering: `[batch, tokens]`, 1 for tokens that are open before the run.
        where: From which layer on the run trims.

    Returns:
        `[layers that trim, batch, tokens]`, 1 for tokens that the layer before left open.
    """
    return jnp.concatenate([entering[None], gates.tokens[:-1]])[where.first_layer :]


def register_policy(name: str, config: type[PolicyConfig]) -> None:
    """Registers a policy by name, for configurations, commands and saved models.

    Args:
        name: The policy's name, which is the value of its configuration's field `policy`.
        config: The class of its configuration.

    Raises:
        ConfigError: Another policy has the name.
    """
    PolicyConfig.KINDS.register(name, config)
