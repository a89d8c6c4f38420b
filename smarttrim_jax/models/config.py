"""What the library asks of a backbone's configuration; nothing else in it knows a backbone."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.configuration import Variants
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.nn.layer_stack import Remat
from smarttrim_jax.nn.text import TextConfig
from smarttrim_jax.nn.vision import VisionConfig
from smarttrim_jax.registry import Registry
from smarttrim_jax.tokens import Kernel
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import TrimRecord

if TYPE_CHECKING:
    from smarttrim_jax.models.base import VisionLanguageModel

ParameterGroup = Literal["trimmer", "head", "cross_modal", "backbone"]
"""Whose learning rate a parameter follows."""


@dataclasses.dataclass(frozen=True)
class DatasetSizes:
    """What a model's sizes depend on in its data.

    Attributes:
        name: What the data set is called in errors.
        vocab_size: Words of the vocabulary.
        pad_id: The id of padding.
        answers: Classes of the answer.
    """

    name: str
    vocab_size: int
    pad_id: int
    answers: int


class ModelConfig(Variants):
    """Configuration of a backbone: a frozen dataclass that derives from this, registered by `register_backbone`.

    Its field `backbone` is a `Literal` of the name that it is registered by, so that settings in a file are those of
    one backbone.

    Attributes:
        backbone: The name of the backbone.
        trimming: Which trimmers the model has; None for the plain backbone.
        images: Images per example.
        dtype: Type of the computation.
        attention: What computes attention in evaluation.
        scan: Whether one layer of each run is compiled and scanned over.
        remat: What the backward pass recomputes.
    """

    TAG: ClassVar[str] = "backbone"
    KINDS: ClassVar[Registry["type[ModelConfig]"]] = Registry("backbone")

    backbone: str
    trimming: TrimmingConfig | None
    images: int
    dtype: Literal["float32", "bfloat16"]
    attention: Kernel
    scan: bool
    remat: Remat

    @abc.abstractmethod
    def build(self, *, rngs: nnx.Rngs) -> "VisionLanguageModel":
        """The model with fresh parameters.

        Args:
            rngs: Random numbers of the initial weights.
        """

    @abc.abstractmethod
    def macs(self, record: TrimRecord, *, trimmed: bool = True) -> Float[Array, " batch"]:
        """Counts the multiply-adds of every example, differentiable in the gates.

        Args:
            record: The gates of a forward pass; `record.opened()` for the same inputs at full capacity.
            trimmed: Whether to count the trimmers, which a full-capacity pass does not run.

        Returns:
            MACs of each example, all its images and texts together.
        """

    @property
    @abc.abstractmethod
    def tasks(self) -> Mapping[str, str]:
        """What the model can be trained for: the kind of every task (`smarttrim_jax.tasks`) by its name."""

    @property
    @abc.abstractmethod
    def depths(self) -> dict[str, int]:
        """How many layers each part of `trimming` is about: "image", "text", "cross_modal"."""

    @property
    @abc.abstractmethod
    def image_size(self) -> int:
        """Height and width of the images, in pixels."""

    @property
    @abc.abstractmethod
    def patch_size(self) -> int:
        """Height and width of the square of pixels that is one token of an image."""

    @property
    @abc.abstractmethod
    def vocab_size(self) -> int:
        """Rows of the word table; 0 takes the data's vocabulary."""

    @property
    @abc.abstractmethod
    def max_text_length(self) -> int:
        """The most tokens that a text can have."""

    @property
    def image_sides(self) -> tuple[str, ...]:
        """The sides of the model's state whose tokens are patches of images, for pictures of what was kept."""
        return ("image",)

    @property
    def text_side(self) -> str:
        """The side of the model's state whose tokens are the text's."""
        return "text"

    @abc.abstractmethod
    def parameter_group(self, path: str) -> ParameterGroup:
        """The group whose learning rate a parameter follows.

        Args:
            path: The parameter's "/"-joined path.
        """

    @abc.abstractmethod
    def is_stacked(self, path: str) -> bool:
        """Whether a parameter holds all layers of a kind, stacked on its first axis.

        Args:
            path: The parameter's "/"-joined path, or one that ends in it.
        """

    @abc.abstractmethod
    def fit_to(self, data: DatasetSizes, task: str) -> Self:
        """The configuration with every size that was left to the data.

        Args:
            data: Sizes of the data set.
            task: The name of the task that is trained.

        Raises:
            ConfigError: A size that was not left to the data, and does not fit it.
        """

    def outputs(self, task: str) -> int | None:
        """How many classes the head of a task tells apart; None where answers are read as text.

        Args:
            task: The name of the task.
        """
        return None

    def text_start(self) -> str:
        """The first token of every text, in place of the vocabulary's own; "" keeps that."""
        return ""

    def can_shorten(self, side: str) -> bool:
        """Whether an encoder's closed tokens may leave memory in training (`CapacityConfig`): whether it closes any.

        Args:
            side: "image" or "text".
        """
        return True


def register_backbone(name: str, config: type[ModelConfig]) -> None:
    """Makes a backbone known by name: in configurations, to every command, and for saved models.

    Args:
        name: The backbone's name, the value of its configuration's field `backbone`.
        config: The class of its configuration.

    Raises:
        ConfigError: Another backbone has the name.
    """
    ModelConfig.KINDS.register(name, config)


class EncodersConfig(ModelConfig):
    """Base of a configuration with an image encoder and a text model.

    Attributes:
        vision: The image encoder.
        text: The text model.
    """

    vision: VisionConfig
    text: TextConfig

    @property
    def image_size(self) -> int:
        """Height and width of the images, in pixels."""
        return self.vision.image_size

    @property
    def patch_size(self) -> int:
        """Height and width of the square of pixels that is one token of an image."""
        return self.vision.patch_size

    @property
    def vocab_size(self) -> int:
        """Rows of the word table; 0 takes the data's vocabulary."""
        return self.text.vocab_size

    @property
    def max_text_length(self) -> int:
        """The most tokens that a text can have."""
        return self.text.max_length

    def fit_to(self, data: DatasetSizes, task: str) -> Self:
        """The configuration with the data's vocabulary; see `ModelConfig.fit_to`."""
        check_fits("model.text.vocab_size", self.text.vocab_size, data.vocab_size, data.name, left_to_data=0)
        check_fits("model.text.pad_id", self.text.pad_id, data.pad_id, data.name)
        text = dataclasses.replace(self.text, vocab_size=data.vocab_size)
        return dataclasses.replace(self, text=text)


def check_fits(key: str, value: int, needed: int, data: str, *, left_to_data: int | None = None) -> None:
    """Makes sure that a size is what the data needs.

    Args:
        key: The size's key in the run's configuration.
        value: What it is.
        needed: What the data needs.
        data: What the data set is called.
        left_to_data: The value that stands for whatever the data needs, if there is one.

    Raises:
        ConfigError: It is another.
    """
    if value not in (needed, left_to_data):
        raise ConfigError(f"{key} is {value}, but {data} needs {needed}")
