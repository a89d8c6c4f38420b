"""Sizes, task and trimming of a BLIP model."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.models.config import DatasetSizes, EncodersConfig, ParameterGroup
from smarttrim_jax.nn.layer_stack import Remat
from smarttrim_jax.nn.sizes import check_parameters
from smarttrim_jax.nn.text import TextConfig
from smarttrim_jax.nn.vision import VisionConfig
from smarttrim_jax.ranges import PositiveInt
from smarttrim_jax.tokens import Kernel
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import TrimRecord

if TYPE_CHECKING:
    from smarttrim_jax.models.base import VisionLanguageModel

TaskName = Literal["vqa", "nlvr2", "caption", "retrieval"]
TASKS: tuple[TaskName, ...] = ("vqa", "nlvr2", "caption", "retrieval")
KINDS: dict[TaskName, str] = {"vqa": "answers", "nlvr2": "classes", "caption": "captions", "retrieval": "retrieval"}
"""The kind of each task; see `smarttrim_jax.tasks`."""
STARTS: dict[TaskName, str] = {"vqa": "[ENC]", "nlvr2": "[ENC]", "caption": "[DEC]", "retrieval": "[ENC]"}
"""The first token of the texts of each task."""
# "head": parts made for the task. "cross_modal": parts that read another side. BERT, from which the text models are
# initialised, has neither.

BERT = TextConfig(vocab_size=30524, max_positions=512, position_rule="bert", pad_id=0, token_types=0, epsilon=1e-12)
"""BERT-base with BLIP's two additional words, [DEC] and [ENC]."""
IMAGE_SIDES = ("image", "image0", "image1")
"""The sides of a model's state that hold images: "image" for all, "image0" and "image1" for one of two each."""
VIT = VisionConfig(image_size=384, depth=12, activation="gelu", epsilon=1e-6, pre_norm=False, patch_bias=True)


@dataclasses.dataclass(frozen=True)
class BlipConfig(EncodersConfig):
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
        attention: What computes attention in training and evaluation: plain JAX, a kernel by name, or whichever suits
            the device.
        scan: Compile one layer of each run and scan over it.
        remat: What the backward pass recomputes.
        backbone: The name of this backbone.
    """

    PARAMETER_GROUPS: ClassVar[tuple[tuple[ParameterGroup, str], ...]] = (
        ("trimmer", r"^trimmers/"),
        (
            "head",
            r"^(head|match_head|image_projection|text_projection)/|^temperature$|^decoder/(dense|norm|bias)(/|$)",
        ),
        ("cross_modal", r"/(cross_attention|cross_attention_norm|twin_attention|merge)/"),
    )
    STACKED: ClassVar[str] = r"(^|/)(layers|merge_layers|trimmers)/"

    task: TaskName = "vqa"
    vision: VisionConfig = VIT
    text: TextConfig = BERT
    first_merge: PositiveInt = 6
    features: PositiveInt = 256
    trimming: TrimmingConfig | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Kernel = "auto"
    scan: bool = False
    remat: Remat = "none"
    backbone: Literal["blip"] = "blip"

    def check(self) -> None:
        """Makes sure that the fields fit together; see `Settings.check`."""
        if self.task == "nlvr2" and self.first_merge > self.text.depth:
            raise ConfigError(
                f"first_merge is {self.first_merge}; it must lie between 1 and the text's depth, {self.text.depth} "
                "(which merges nowhere)"
            )
        check_parameters(self.parameters)

    @property
    def tasks(self) -> dict[str, str]:
        """The task that the model can be trained for, and its kind."""
        return {self.task: KINDS[self.task]}

    @property
    def depths(self) -> dict[str, int]:
        """The number of layers that each part of `trimming` applies to."""
        return {"image": self.vision.depth, "text": self.text.depth, "cross_modal": self.text.depth}

    @property
    def parameters(self) -> int:
        """The number of parameters in matrices and tables of the image encoder and one text model.

        Cross-attention, biases and norms are not counted.
        """
        return self.vision.parameters + self.text.parameters + self.features * (self.vision.width + self.text.width)

    @property
    def images(self) -> int:  # type: ignore[override]
        """The number of images per example."""
        return 2 if self.task == "nlvr2" else 1

    @property
    def image_sides(self) -> tuple[str, ...]:
        """The sides of the model's state whose tokens are image patches."""
        return IMAGE_SIDES

    @property
    def text_side(self) -> str:
        """The side of the text; for captions it is "target", which the decoder writes."""
        return "target" if self.task == "caption" else "text"

    def width(self, side: str) -> int:
        """Returns the width of the tokens of one side of the model's state.

        Args:
            side: Name of the side.

        Returns:
            The vision encoder's width for images, else the text's.
        """
        return self.vision.width if side in IMAGE_SIDES else self.text.width

    def build(self, *, rngs: nnx.Rngs) -> "VisionLanguageModel":
        """Builds the task's model with fresh parameters; see `ModelConfig.build`."""
        from smarttrim_jax.models.blip.models import MODELS  # they import this module

        return MODELS[self.task](self, rngs=rngs)

    def macs(self, record: TrimRecord, *, trimmed: bool = True) -> Float[Array, " batch"]:
        """Counts the multiply-adds of each example; see `ModelConfig.macs`."""
        from smarttrim_jax.models.blip.macs import blip_macs  # it imports this module

        return blip_macs(self, record, trimmed=trimmed)

    def text_start(self) -> str:
        """The first token of each text, which selects the reader."""
        return STARTS[self.task]

    def fit_to(self, data: DatasetSizes, task: str) -> Self:
        """Fills in the vocabulary size; see `ModelConfig.fit_to`.

        Args:
            data: Sizes of the data set.
            task: Name of the task that is trained.

        Returns:
            The configuration with the data's vocabulary size.

        Raises:
            ConfigError: A size was not left to the data, and does not fit it; or NLVR2's data has other than two
                answers.
        """
        if self.task == "nlvr2" and data.answers != 2:
            raise ConfigError(f"BLIP's nlvr2 knows false and true, but {data.name} has {data.answers} answers")
        return super().fit_to(data, task)

    def can_shorten(self, side: str) -> bool:
        """Tells whether an encoder's closed tokens can be removed from memory in training.

        Args:
            side: "image" or "text".

        Returns:
            True for "image"; texts are not trimmed before they read the image.
        """
        return side == "image"
