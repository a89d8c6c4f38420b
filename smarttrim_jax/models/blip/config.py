"""Sizes, task and trimming of a BLIP model."""

import dataclasses
from typing import Literal

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.nn.folding import Remat
from smarttrim_jax.nn.text import TextConfig
from smarttrim_jax.nn.vision import VisionConfig
from smarttrim_jax.tokens import Kernel
from smarttrim_jax.trimming.trimmers import TrimmingConfig

Task = Literal["vqa", "nlvr2", "caption", "retrieval"]
TASKS: tuple[Task, ...] = ("vqa", "nlvr2", "caption", "retrieval")

BERT = TextConfig(vocab_size=30524, max_positions=512, position_rule="bert", pad_id=0, token_types=0, epsilon=1e-12)
"""BERT-base with BLIP's two further words, [DEC] and [ENC]."""
VIT = VisionConfig(image_size=384, depth=12, activation="gelu", epsilon=1e-6, pre_norm=False, patch_bias=True)


@dataclasses.dataclass(frozen=True)
class BlipConfig:
    """A BLIP model; the defaults are the official base model for visual question answering at 384 pixels.

    Attributes:
        task: what the model is wired for: "vqa" (an encoder of questions, a decoder of answers), "nlvr2" (a text
            that reads two images), "caption" (a decoder that reads the image), "retrieval" (an encoder of texts
            with and without an image).
        vision: the image encoder.
        text: sizes of the text encoder and decoder.
        first_merge: NLVR2's first layer that merges what it read of the two images; those before take the mean.
        features: width of the vectors by which retrieval compares images and texts.
        trimming: which trimmers the model has; None for the plain backbone. `cross_modal` is of all layers that
            read another side, `text` of a text encoded on its own.
        dtype: of the computation; parameters are float32.
        attention: who computes attention in evaluation: plain JAX, a kernel by name, or whichever suits the device.
        scan: compile one layer of each run and scan over it.
        remat: what the backward pass recomputes.
    """

    task: Task = "vqa"
    vision: VisionConfig = VIT
    text: TextConfig = BERT
    first_merge: int = 6
    features: int = 256
    trimming: TrimmingConfig | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Kernel = "auto"
    scan: bool = False
    remat: Remat = "none"

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ConfigError(f"task is '{self.task}'; a BLIP model's is one of {', '.join(TASKS)}")
        if not 0 < self.first_merge <= self.text.depth and self.task == "nlvr2":
            raise ConfigError(
                f"first_merge is {self.first_merge}; it must lie between 1 and the text's depth, {self.text.depth} "
                "(which merges nowhere)"
            )

    @property
    def tasks(self) -> tuple[str, ...]:
        """What the model can be trained for: its task."""
        return (self.task,)

    @property
    def images(self) -> int:
        """Images per example."""
        return 2 if self.task == "nlvr2" else 1

    def width(self, side: str) -> int:
        """Of the tokens of one side of the model's state."""
        return self.vision.width if side.startswith("image") else self.text.width
