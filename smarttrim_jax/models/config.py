"""The contract of a backbone's configuration, through which the rest of the library uses a backbone."""

import abc
import dataclasses
import re
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
"""The groups of parameters that may have learning rates of their own."""


@dataclasses.dataclass(frozen=True)
class DatasetSizes:
    """The sizes of a data set that a model's sizes depend on.

    Attributes:
        name: Name of the data set in error messages.
        vocab_size: Number of tokens in the vocabulary.
        pad_id: Id of the padding token.
        answers: Number of answer classes.
    """

    name: str
    vocab_size: int
    pad_id: int
    answers: int


class ModelConfig(Variants):
    """Configuration of a backbone: a frozen dataclass that derives from this, registered by `register_backbone`.

    Its field `backbone` is a `Literal` of the registered name, by which settings in a file select their class.

    Attributes:
        backbone: The name of the backbone.
        trimming: Which trimmers the model has; None for the plain backbone.
        images: Images per example.
        dtype: Data type of the computation.
        attention: The attention kernel of training and evaluation; "auto" suits the device (`tokens.Kernel`).
        scan: Whether one layer of each run is compiled and scanned over.
        remat: What the backward pass recomputes.
        PARAMETER_GROUPS: Groups and the regular expressions that their parameters' paths match, the first match
            counting; all others are of the backbone.
        STACKED: A regular expression that paths of parameters match which hold several layers.
    """

    PARAMETER_GROUPS: ClassVar[tuple[tuple[ParameterGroup, str], ...]] = (
        ("trimmer", r"^trimmers/"),
        ("head", r"^head/"),
    )
    STACKED: ClassVar[str] = r"(^|/)(layers|trimmers)/"
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
        """Builds the model with fresh parameters.

        Args:
            rngs: Random numbers of the initial weights.

        Returns:
            The model.
        """

    @abc.abstractmethod
    def macs(self, record: TrimRecord, *, trimmed: bool = True) -> Float[Array, " batch"]:
        """Counts the multiply-adds of each example, differentiable in the gates.

        Args:
            record: The gates of a forward pass; `record.opened()` for the same inputs at full capacity.
            trimmed: Whether to count the trimmers, which a full-capacity pass does not run.

        Returns:
            MACs of each example, `[batch]`, all its images and texts together.
        """

    @property
    @abc.abstractmethod
    def tasks(self) -> Mapping[str, str]:
        """The tasks that the model can be trained for: the kind of each task (`smarttrim_jax.tasks`) by its name."""

    @property
    @abc.abstractmethod
    def depths(self) -> dict[str, int]:
        """The number of layers that each part of `trimming` applies to: "image", "text", "cross_modal"."""

    @property
    @abc.abstractmethod
    def image_size(self) -> int:
        """Height and width of the images, in pixels."""

    @property
    @abc.abstractmethod
    def patch_size(self) -> int:
        """Height and width in pixels of the square that becomes one token of an image."""

    @property
    def vocab_size(self) -> int:
        """The number of rows of the word table; 0 takes the size of the data's vocabulary, or stands for no texts."""
        return 0

    @property
    def max_text_length(self) -> int:
        """The largest number of tokens that a text can have; 0 for a model of images alone."""
        return 0

    @property
    def kernel(self) -> Kernel:
        """The kernel that `attention` names; plain JAX for a policy that weighs tokens, which others cannot do."""
        weighs = self.trimming is not None and self.trimming.policy.weighs_tokens
        return "xla" if weighs else self.attention

    @property
    def image_sides(self) -> tuple[str, ...]:
        """The sides of the model's state whose tokens are image patches, for pictures of the kept patches."""
        return ("image",)

    @property
    def text_side(self) -> str:
        """The side of the model's state whose tokens are those of the text."""
        return "text"

    def parameter_group(self, path: str) -> ParameterGroup:
        """Returns the group whose learning rate a parameter uses.

        Args:
            path: The parameter's path, joined by "/".

        Returns:
            The name of the group.
        """
        return next((group for group, pattern in self.PARAMETER_GROUPS if re.search(pattern, path)), "backbone")

    def is_stacked(self, path: str) -> bool:
        """Tells whether a parameter holds several layers, stacked on its first axis.

        Args:
            path: The parameter's path, joined by "/", or a longer path that ends in it.

        Returns:
            Whether it is stacked.
        """
        return re.search(self.STACKED, path) is not None

    def fit_to(self, data: DatasetSizes, task: str) -> Self:
        """Fills in each size that was left to the data; here there is none.

        Args:
            data: Sizes of the data set.
            task: Name of the task that is trained.

        Returns:
            The configuration with all sizes.

        Raises:
            ConfigError: A size was not left to the data, and does not fit it.
        """
        return self

    def outputs(self, task: str) -> int | None:
        """Returns the number of classes of a task's head.

        Args:
            task: Name of the task.

        Returns:
            The number of classes; None for tasks whose answers are texts.
        """
        return None

    def text_start(self) -> str:
        """The first token of each text, letters in square brackets ("[READ]"); "" keeps the vocabulary's own.

        The run's configuration repeats it as `data.start`.
        """
        return ""

    def can_shorten(self, side: str) -> bool:
        """Tells whether an encoder's closed tokens can be removed from memory in training (`CapacityConfig`).

        Args:
            side: "image" or "text".

        Returns:
            Whether the encoder is a run that has the side's name and closes tokens of it; False unless a backbone
            says otherwise.
        """
        return False


def register_backbone(name: str, config: type[ModelConfig]) -> None:
    """Registers a backbone by name, for configurations, commands and saved models.

    Args:
        name: The backbone's name, which is the value of its configuration's field `backbone`.
        config: The class of its configuration.

    Raises:
        ConfigError: Another backbone has the name.
    """
    ModelConfig.KINDS.register(name, config)


class EncodersConfig(ModelConfig):
    """Base class for the configuration of a backbone with an image encoder and a text model.

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
        """Height and width in pixels of the square that becomes one token of an image."""
        return self.vision.patch_size

    @property
    def vocab_size(self) -> int:
        """The number of rows of the word table; 0 takes the size of the data's vocabulary."""
        return self.text.vocab_size

    @property
    def max_text_length(self) -> int:
        """The largest number of tokens that a text can have."""
        return self.text.max_length

    def fit_to(self, data: DatasetSizes, task: str) -> Self:
        """Fills in the vocabulary size, and checks the padding id; see `ModelConfig.fit_to`.

        Args:
            data: Sizes of the data set.
            task: Not used here.

        Returns:
            The configuration with the data's vocabulary size.

        Raises:
            ConfigError: The vocabulary size or the padding id differs from the data's.
        """
        check_fits("model.text.vocab_size", self.text.vocab_size, data.vocab_size, data.name, left_to_data=0)
        check_fits("model.text.pad_id", self.text.pad_id, data.pad_id, data.name)
        text = dataclasses.replace(self.text, vocab_size=data.vocab_size)
        return dataclasses.replace(self, text=text)


def check_fits(key: str, value: int, needed: int, data: str, *, left_to_data: int | None = None) -> None:
    """Checks that a size in the configuration is the one that the data needs.

    Args:
        key: The size's key in the run's configuration.
        value: Its value.
        needed: The value that the data needs.
        data: Name of the data set.
        left_to_data: A value that stands for whatever the data needs; None if there is none.

    Raises:
        ConfigError: The value is neither `needed` nor `left_to_data`.
    """
    if value not in (needed, left_to_data):
        raise ConfigError(f"{key} is {value}, but {data} needs {needed}")
