"""Sizes, task and trimming of a BLIP model."""

import dataclasses
from typing import Literal

from smarttrim_jax.configuration import Settings
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.nn.folding import Remat
from smarttrim_jax.nn.sizes import check_parameters
from smarttrim_jax.nn.text import TextConfig
from smarttrim_jax.nn.vision import VisionConfig
from smarttrim_jax.ranges import PositiveInt
from smarttrim_jax.tokens import Kernel
from smarttrim_jax.trimming.trimmers import TrimmingConfig

Task = Literal["vqa", "nlvr2", "caption", "retrieval"]
TASKS: tuple[Task, ...] = ("vqa", "nlvr2", "caption", "retrieval")

BERT = TextConfig(vocab_size=30524, max_positions=512, position_rule="bert", pad_id=0, token_types=0, epsilon=1e-12)
"""BERT-base with BLIP's two further words, [DEC] and [ENC]."""
VIT = VisionConfig(image_size=384, depth=12, activation="gelu", epsilon=1e-6, pre_norm=False, patch_bias=True)


@dataclasses.dataclass(frozen=True)
class BlipConfig(Settings):
    """A BLIP model; the defaults are the official base model for visual question answering at 384 pixels.

    Attributes:
        task: What the model is wired for: "vqa" (an encoder of questions, a decoder of answers), "nlvr2" (a text
            that reads two images), "caption" (a decoder that reads the image), "retrieval" (an encoder of texts
            with and without an image).
        vision: The image encoder.
        text: Sizes of the text encoder and decoder.
        first_merge: NLVR2's first layer that merges what it read of the two images; those before take the mean.
        features: Width of the vectors by which retrieval compares images and texts.
        trimming: Which trimmers the model has; None for the plain backbone. `cross_modal` is for all layers that
            read another side, `text` for a text encoded on its own.
        dtype: Type of the computation; parameters are float32.
        attention: What computes attention in evaluation: plain JAX, a kernel by name, or whichever suits the device.
        scan: Compile one layer of each run and scan over it.
        remat: What the backward pass recomputes.
    """

    task: Task = "vqa"
    vision: VisionConfig = VIT
    text: TextConfig = BERT
    first_merge: PositiveInt = 6
    features: PositiveInt = 256
    trimming: TrimmingConfig | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Kernel = "auto"
    scan: bool = False
    remat: Remat = "none"

    def check(self) -> None:
        if self.task == "nlvr2" and self.first_merge > self.text.depth:
            raise ConfigError(
                f"first_merge is {self.first_merge}; it must lie between 1 and the text's depth, {self.text.depth} "
                "(which merges nowhere)"
            )
        check_parameters(self.parameters)

    @property
    def tasks(self) -> tuple[str, ...]:
        """What the model can be trained for: its task."""
        return (self.task,)

    @property
    def parameters(self) -> int:
        """Numbers in one text model's and the image encoder's matrices and tables; cross-attention is left out."""
        return self.vision.parameters + self.text.parameters + self.features * (self.vision.width + self.text.width)

    @property
    def images(self) -> int:
        """Images per example."""
        return 2 if self.task == "nlvr2" else 1

    def width(self, side: str) -> int:
        """Of the tokens of one side of the model's state."""
        return self.vision.width if side.startswith("image") else self.text.width
