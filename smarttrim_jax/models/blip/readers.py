"""Runs of layers whose tokens read other sides of the state by cross-attention: BLIP's fused encoder and decoder."""

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
    """One such run. Its layers change their own side alone; of the sources they close what nobody reads any more.

    Attributes:
        name: of the run.
        own: the side whose tokens read.
        sources: the sides that are read, one cross-attention each.
        closing: the sides whose tokens may be closed.
        depth: number of layers.
        heads: of every attention module.
        where: what is trimmed.
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
        """All sides it takes part in."""
        return (self.own, *self.sources)

    def key(self, side: str) -> GateKey:
        """The key of a side's gates."""
        return GateKey(self.name, side)

    def others(self, side: str) -> tuple[str, ...]:
        """The sides that a side's trimmers look at."""
        return self.sources if side == self.own else (self.own,)

    def trimming(self, side: str) -> RunTrimming:
        """What is trimmed on a side."""
        return dataclasses.replace(self.where, tokens=self.where.tokens and side in self.closing)

    def shape(self, config: BlipConfig, side: str) -> SideShape:
        """A side as its policy sees it."""
        heads = self.heads if side == self.own else 0
        return SideShape(config.width(side), heads, tuple(config.width(other) for other in self.others(side)))

    def make_policies(self, config: BlipConfig, trimming: TrimmingConfig, rngs: nnx.Rngs) -> dict[str, nnx.Module]:
        """The stacked policies of every side that has any, by the name of its gates."""
        return existing(
            {
                self.key(side): stack_policies(
                    self.shape(config, side), self.depth, self.trimming(side), trimming, rngs
                )
                for side in self.sides
            }
        )

    def run(self, layers: Any, trimmers: Mapping[str, Any], config: BlipConfig) -> LayerRun:
        """The stage.

        Args:
            layers: The stacked layers.
            trimmers: The policies of the whole model, by the name of their gates.
            config: Configuration of the model.
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
        """One layer."""
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
    """The model's readers in order, by name. A decoder closes none of its words, nor of a text that it reads."""
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
