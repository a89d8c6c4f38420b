"""Sizes, heads and trimming of a METER model."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.configuration import Settings
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.models.config import DatasetSizes, EncodersConfig, ParameterGroup, check_fits
from smarttrim_jax.models.heads import HeadConfig, head_macs
from smarttrim_jax.models.meter.macs import meter_macs
from smarttrim_jax.nn.layer_stack import Remat
from smarttrim_jax.nn.sizes import check_heads, check_parameters, layer_parameters
from smarttrim_jax.nn.text import TextConfig
from smarttrim_jax.nn.vision import VisionConfig
from smarttrim_jax.ranges import Depth, PositiveFloat, PositiveInt, ShareBelowOne
from smarttrim_jax.tokens import Kernel
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import TrimRecord

if TYPE_CHECKING:
    from smarttrim_jax.models.base import VisionLanguageModel


@dataclasses.dataclass(frozen=True)
class FusionConfig(Settings):
    """The two lock-step stacks of co-attention layers; the defaults are METER's.

    Attributes:
        width: Width of both sides' tokens.
        depth: Layers of each side.
        heads: Attention heads of every attention module; must divide `width`.
        mlp_width: Hidden width of the MLPs.
        epsilon: Epsilon of the LayerNorms (BertConfig's default 1e-12).
        dropout: Dropout on attention weights and every sub-layer.
    """

    width: PositiveInt = 768
    depth: Depth = 6
    heads: PositiveInt = 12
    mlp_width: PositiveInt = 3072
    epsilon: PositiveFloat = 1e-12
    dropout: ShareBelowOne = 0.1

    def check(self) -> None:
        """Makes sure that the fields fit together; see `Settings.check`."""
        check_heads(self.heads, self.width)

    @property
    def parameters(self) -> int:
        """The number of parameters in the matrices of both sides, without biases and norms."""
        return 2 * self.depth * layer_parameters(self.width, self.mlp_width, attentions=2)


@dataclasses.dataclass(frozen=True)
class MeterConfig(EncodersConfig):
    """A METER model; the defaults are the official CLIP-ViT-B/16 + RoBERTa-base for VQAv2 labels.

    Attributes:
        vision: The image encoder.
        text: The text encoder.
        fusion: The layers where both meet.
        heads: The task heads, each with a name of its own; the logits of all are returned.
        images: Images per example (VQA 1, NLVR2 2, NLVR's boxes 3).
        share_text: Encode the text once for all images of an example; the official code encodes it for each.
        trimming: Which trimmers the model has; None for the plain backbone.
        dtype: Type of the computation; parameters are float32.
        attention: What computes attention in training and evaluation: plain JAX, a kernel by name, or whichever suits
            the device.
        scan: Compile one layer of each run and scan over it.
        remat: What the backward pass recomputes.
        backbone: The name of this backbone.
    """

    # The parts that METER trains with learning rates of their own (official file meter_utils.py).
    PARAMETER_GROUPS: ClassVar[tuple[tuple[ParameterGroup, str], ...]] = (
        ("trimmer", r"^trimmers/"),
        ("head", r"^head/"),
        ("cross_modal", r"^(fusion_text|fusion_image|text_transform|image_transform|text_pooler|image_pooler)/"),
    )
    STACKED: ClassVar[str] = r"(^|/)(layers|fusion_text|fusion_image|trimmers)/"

    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()
    fusion: FusionConfig = FusionConfig()
    heads: tuple[HeadConfig, ...] = (HeadConfig("vqa", "classifier", 3129),)
    images: PositiveInt = 1
    share_text: bool = True
    trimming: TrimmingConfig | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Kernel = "auto"
    scan: bool = False
    remat: Remat = "none"
    backbone: Literal["meter"] = "meter"

    def check(self) -> None:
        """Makes sure that the fields fit together; see `Settings.check`."""
        names = [head.name for head in self.heads]
        if len(set(names)) < max(len(names), 1):
            raise ConfigError(
                f"heads are named {', '.join(map(repr, names)) or 'not at all'}; give each its own name"
            )
        check_parameters(self.parameters)

    @property
    def parameters(self) -> int:
        """The number of parameters in the model's matrices and tables, without trimmers, biases and norms."""
        encoders = self.vision.parameters + self.text.parameters
        joined = (self.vision.width + self.text.width + 2 * self.fusion.width) * self.fusion.width
        # Each parameter of a head's matrices is multiplied once per example, so MACs count them.
        heads = sum(head_macs(head, self.fusion.width, self.images) for head in self.heads)
        return encoders + joined + self.fusion.parameters + heads

    @property
    def tasks(self) -> dict[str, str]:
        """The tasks that the model can be trained for: its heads except masked language modelling.

        A linear head with one output scores how well a text fits an image, by which texts are ranked.
        """
        return {
            head.name: "ranking" if head.kind == "linear" and head.outputs == 1 else "classes"
            for head in self.heads
            if head.kind != "mlm"
        }

    @property
    def depths(self) -> dict[str, int]:
        """The number of layers that each part of `trimming` applies to."""
        return {"image": self.vision.depth, "text": self.text.depth, "cross_modal": self.fusion.depth}

    def build(self, *, rngs: nnx.Rngs) -> "VisionLanguageModel":
        """Builds the model with fresh parameters; see `ModelConfig.build`."""
        from smarttrim_jax.models.meter.model import Meter  # it imports this module

        return Meter(self, rngs=rngs)

    def macs(self, record: TrimRecord, *, trimmed: bool = True) -> Float[Array, " batch"]:
        """Counts the multiply-adds of each example; see `ModelConfig.macs`."""
        return meter_macs(self, record, trimmed=trimmed)

    def can_shorten(self, side: str) -> bool:
        """Tells whether an encoder's closed tokens can be removed from memory in training.

        Args:
            side: "image" or "text".

        Returns:
            True: both encoders trim before they meet.
        """
        return True

    def outputs(self, task: str) -> int | None:
        """Returns the number of classes of a task's head.

        Args:
            task: Name of the task, which is the name of a head.

        Returns:
            The number of classes, 0 if it is left to the data; None for a head that ranks texts.
        """
        if self.tasks[task] == "ranking":
            return None
        return next(head.outputs for head in self.heads if head.name == task)

    def fit_to(self, data: DatasetSizes, task: str) -> Self:
        """Fills in the vocabulary size, and the number of answers of the task's head; see `ModelConfig.fit_to`.

        Args:
            data: Sizes of the data set.
            task: Name of the task that is trained.

        Returns:
            The configuration with all sizes.

        Raises:
            ConfigError: A size was not left to the data, and does not fit it.
        """
        fitted = super().fit_to(data, task)
        outputs = self.outputs(task)
        if outputs is None:
            return fitted
        check_fits(f"model.heads['{task}'].outputs", outputs, data.answers, data.name, left_to_data=0)
        heads = tuple(
            dataclasses.replace(head, outputs=data.answers) if head.name == task else head for head in self.heads
        )
        return dataclasses.replace(fitted, heads=heads)
