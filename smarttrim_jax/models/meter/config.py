"""Sizes, heads and trimming of a METER model."""

import dataclasses
from typing import Literal

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.nn.folding import Remat
from smarttrim_jax.nn.text import TextConfig
from smarttrim_jax.nn.vision import VisionConfig
from smarttrim_jax.tokens import Kernel
from smarttrim_jax.trimming.trimmers import TrimmingConfig


@dataclasses.dataclass(frozen=True)
class FusionConfig:
    """The two lock-step stacks of co-attention layers; the defaults are METER's.

    Attributes:
        width: of both sides.
        depth: layers of each side.
        heads: of every attention module; must divide `width`.
        mlp_width: hidden width of the MLPs.
        epsilon: of the LayerNorms (BertConfig's default 1e-12).
        dropout: on attention weights and every sub-layer.
    """

    width: int = 768
    depth: int = 6
    heads: int = 12
    mlp_width: int = 3072
    epsilon: float = 1e-12
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(f"heads {self.heads} does not divide width {self.width}")


@dataclasses.dataclass(frozen=True)
class MeterConfig:
    """A METER model; the defaults are the official CLIP-ViT-B/16 + RoBERTa-base for VQAv2 labels.

    Attributes:
        vision: the image encoder.
        text: the text encoder.
        fusion: where both meet.
        heads: the task heads; every one's logits are returned.
        images: images per example (VQA 1, NLVR2 2, NLVR's boxes 3).
        share_text: encode the text once for all images of an example; the official code encodes it for each.
        trimming: which trimmers the model has; None for the plain backbone.
        dtype: of the computation; parameters are float32.
        attention: who computes attention in evaluation: plain JAX, a kernel by name, or whichever suits the device.
        scan: compile one layer of each run and scan over it.
        remat: what the backward pass recomputes.
    """

    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()
    fusion: FusionConfig = FusionConfig()
    heads: tuple[HeadConfig, ...] = (HeadConfig("vqa", "classifier", 3129),)
    images: int = 1
    share_text: bool = True
    trimming: TrimmingConfig | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Kernel = "auto"
    scan: bool = False
    remat: Remat = "none"

    @property
    def tasks(self) -> tuple[str, ...]:
        """What the model can be trained for: its heads."""
        return tuple(head.name for head in self.heads)
