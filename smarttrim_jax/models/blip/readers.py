"""Runs of layers whose tokens read other sides of the state by cross-attention: BLIP's fused encoder and decoder."""

import dataclasses
from typing import Any

import jax
from flax import nnx

from smarttrim_jax.models.blip.config import BlipConfig
from smarttrim_jax.models.blip.text import Twin
from smarttrim_jax.models.layers import decide_side, existing, stack_trimmers
from smarttrim_jax.models.segments import GatesByRun, Run, State
from smarttrim_jax.nn.regularization import split_key
from smarttrim_jax.trimming.gates import Trim
from smarttrim_jax.trimming.trimmers import LayerTrimmers, RunTrimming, TrimmingConfig


@dataclasses.dataclass(frozen=True)
class Reader:
    """One such run. Its layers change their own side alone; of the sources they close what nobody reads any more.

    Attributes:
        name: of the run; the gates of a side are called by run and side, as "fusion_text".
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

    @property
    def own_gates(self) -> str:
        """The name of its own side's gates."""
        return self.gates(self.own)

    def gates(self, side: str) -> str:
        """The name of a side's gates."""
        return f"{self.name}_{side}"

    def others(self, side: str) -> tuple[str, ...]:
        """The sides that a side's trimmers look at."""
        return self.sources if side == self.own else (self.own,)

    def trimming(self, side: str) -> RunTrimming:
        """What is trimmed on a side."""
        return dataclasses.replace(self.where, tokens=self.where.tokens and side in self.closing)

    def make_trimmers(self, config: BlipConfig, trimming: TrimmingConfig, rngs: nnx.Rngs) -> dict[str, nnx.Module]:
        """The stacked trimmers of every side that has any, by the name of its gates."""
        return existing(
            {
                self.gates(side): stack_trimmers(
                    config.width(side),
                    self.heads if side == self.own else 0,
                    self.depth,
                    self.trimming(side),
                    trimming.trimmers,
                    rngs,
                    other_widths=tuple(config.width(other) for other in self.others(side)),
                )
                for side in self.sides
            }
        )

    def run(self, layers: Any, trimmers: Any, config: BlipConfig) -> Run:
        """The stage.

        Args:
            layers: the stacked layers.
            trimmers: of the whole model, by the name of their gates.
            config: of the model.
        """
        mine = {name: part for name, part in trimmers.items() if name in map(self.gates, self.sides)}
        return Run(
            self.name,
            self.sides,
            self.decide,
            self.compute,
            {self.own_gates: layers},
            mine or None,
            depth=self.depth,
            first_layer=self.where.first_layer,
            scan=config.scan,
            remat=config.remat,
        )

    def decide(
        self, trimmers: dict[str, LayerTrimmers] | None, state: State, trim: Trim, key: jax.Array | None
    ) -> tuple[State, GatesByRun]:
        """What one layer closes on every side, guided by the global tokens of the others."""
        guides = trimmers or {}
        opened, gates = dict(state), {}
        for side, side_key in zip(self.sides, split_key(key, 1 + len(self.sides)), strict=False):
            name, heads = self.gates(side), self.heads if side == self.own else 0
            others = tuple(state[other].global_token for other in self.others(side))
            opened[side], gates[name] = decide_side(
                guides.get(name), state[side], heads, trim, side_key, others=others
            )
        return opened, gates

    def compute(self, layers: dict[str, Any], state: State, gates: GatesByRun, key: jax.Array | None) -> State:
        """One layer."""
        own = gates[self.own_gates]
        sources = [state[side] for side in self.sources]
        has_one = len(sources) == 1
        tokens = layers[self.own_gates](
            tokens=state[self.own],
            source=sources[0] if has_one else Twin(*sources),
            head_gate=own.heads,
            cross_head_gate=own.cross_heads if has_one else Twin(own.cross_heads, own.twin_heads),
            key=split_key(key, 1 + len(self.sides))[-1],
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
