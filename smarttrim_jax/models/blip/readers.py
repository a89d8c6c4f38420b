"""Runs of layers that read other sides of the state by cross-attention: BLIP's fused encoder and decoder."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from smarttrim_jax.models.blip.config import BlipConfig
from smarttrim_jax.models.blip.text import Twin
from smarttrim_jax.models.layers import existing, policies_of, stack_policies
from smarttrim_jax.models.segments import LayerRun, RunSide, State
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import GateKey, GatesByKey
from smarttrim_jax.trimming.policies import RunTrimming, SideShape


@dataclasses.dataclass(frozen=True)
class Reader:
    """A run of layers that read other sides by cross-attention.

    Its layers change their own side alone. On the source sides they may close tokens, which later layers then no
    longer read.

    Attributes:
        name: Name of the run.
        own: The side whose tokens read.
        sources: The sides that are read, by one cross-attention each.
        closing: The sides whose tokens may be closed.
        depth: Number of layers.
        heads: Heads of each attention module.
        where: What is trimmed, and from which layer on.
    """

    name: str
    own: str
    sources: tuple[str, ...]
    closing: tuple[str, ...]
    depth: int
    heads: int
    where: RunTrimming

    @property
    def sides(self) -> tuple[str, ...]:
        """All sides that take part: the own side, then the sources."""
        return (self.own, *self.sources)

    def key(self, side: str) -> GateKey:
        """Returns the key of a side's gates.

        Args:
            side: Name of the side.

        Returns:
            The key.
        """
        return GateKey(self.name, side)

    def others(self, side: str) -> tuple[str, ...]:
        """Returns the sides that the trimmers of a side may look at.

        Args:
            side: Name of the side.

        Returns:
            The sources for the own side; the own side for a source.
        """
        return self.sources if side == self.own else (self.own,)

    def trimming(self, side: str) -> RunTrimming:
        """Returns what is trimmed on a side.

        Args:
            side: Name of the side.

        Returns:
            `where`, without trimming of tokens if the side is not among `closing`.
        """
        return dataclasses.replace(self.where, tokens=self.where.tokens and side in self.closing)

    def shape(self, config: BlipConfig, side: str) -> SideShape:
        """Returns the sizes of a side that its policy needs.

        Args:
            config: Configuration of the model.
            side: Name of the side.

        Returns:
            The side's sizes.
        """
        heads = self.heads if side == self.own else 0
        return SideShape(config.width(side), heads, tuple(config.width(other) for other in self.others(side)))

    def make_policies(self, config: BlipConfig, trimming: TrimmingConfig, rngs: nnx.Rngs) -> dict[str, nnx.Module]:
        """Builds the stacked policies of all sides that have any.

        Args:
            config: Configuration of the model.
            trimming: Holds the configuration of the policy.
            rngs: Random numbers of the initial weights.

        Returns:
            The policies by the name of their gates.
        """
        return existing(
            {
                self.key(side): stack_policies(
                    self.shape(config, side), self.depth, self.trimming(side), trimming, rngs
                )
                for side in self.sides
            }
        )

    def run(self, layers: Any, trimmers: Mapping[str, Any], config: BlipConfig) -> LayerRun:
        """Makes the stage of this run.

        Args:
            layers: The stacked layers.
            trimmers: The policies of the whole model, by the name of their gates.
            config: Configuration of the model.

        Returns:
            The stage.
        """
        return LayerRun(
            self.name,
            tuple(RunSide(side, self.heads if side == self.own else 0, self.others(side)) for side in self.sides),
            self.compute,
            {self.own: layers},
            policies_of(trimmers, self.name, self.sides),
            depth=self.depth,
            first_layer=self.where.first_layer,
            scan=config.scan,
            remat=config.remat,
        )

    def compute(self, layers: dict[str, Any], state: State, gates: GatesByKey, key: jax.Array | None) -> State:
        """Computes one layer.

        Args:
            layers: The layer by the name of the own side.
            state: The state after the layer's decisions.
            gates: The layer's gates.
            key: Random key of the dropout; None for evaluation.

        Returns:
            The state with the own side's tokens after the layer.
        """
        own = gates[self.key(self.own)]
        sources = [state[side] for side in self.sources]
        has_one = len(sources) == 1
        tokens = layers[self.own](
            tokens=state[self.own],
            source=sources[0] if has_one else Twin(*sources),
            head_gate=own.heads,
            cross_head_gate=own.cross_heads if has_one else Twin(own.cross_heads, own.twin_heads),
            key=key,
        )
        return state | {self.own: tokens}


def readers(config: BlipConfig) -> dict[str, Reader]:
    """Lists the readers of a model in order.

    A decoder closes none of its own words, and none of the words of a text that it reads.

    Args:
        config: Configuration of the model.

    Returns:
        The readers by name; those without layers are left out.
    """
    depth, heads = config.text.depth, config.text.heads
    where = (config.trimming or TrimmingConfig()).cross_modal

    def reader(
        name: str, own: str, sources: tuple[str, ...], closing: tuple[str, ...], start: int = 0, stop: int = depth
    ) -> Reader:
        shifted = dataclasses.replace(where, first_layer=max(where.first_layer - start, 0))
        return Reader(name, own, sources, closing, stop - start, heads, shifted)

    two = ("image0", "image1")
    found = {
        "vqa": (
            reader("fusion", "text", ("image",), ("text", "image")),
            reader("decoder", "target", ("text",), ()),
        ),
        "nlvr2": (
            reader("fusion", "text", two, ("text", *two), 0, config.first_merge),
            reader("merge", "text", two, ("text", *two), config.first_merge, depth),
        ),
        "caption": (reader("decoder", "target", ("image",), ("image",)),),
        "retrieval": (reader("fusion", "text", ("image",), ("text", "image")),),
    }[config.task]
    return {reader.name: reader for reader in found if reader.depth}
