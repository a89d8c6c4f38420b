"""What is read and how: the settings of the data."""

import dataclasses
import decimal
from typing import Annotated, Literal

from smarttrim_jax.configuration import Settings
from smarttrim_jax.data.images import Resize
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.ranges import NonNegativeInt, Path, PathOrNone, PositiveInt, Seed, at_least, between

Augment = Literal["none", "clip_randaug"]
Start = Literal["", "[ENC]", "[DEC]"]

MOST_BATCH_BYTES = 2**40
"""Of the images of one batch: a tebibyte, more than a thousand machines read at once."""


@dataclasses.dataclass(frozen=True)
class DataConfig(Settings):
    """Settings of a data set and of its batches.

    Attributes:
        dataset: The name of the data set, `package.module:Builder` for one of your own, or "jsonl" for a folder of
            your own; "" where a loop of the user's own reads the data.
        image_size: Height and width of the images, in pixels.
        text_length: Tokens of every text, the start and end token included.
        batch_size: Examples of a batch over all processes.
        data_dir: Where prepared data is kept.
        source: Where the raw files are (see the builder). But for "jsonl" it is needed for the first preparation
            only, and to prepare from another source takes another `data_dir`.
        resize: "resize" takes the whole image, "resize_crop" the centre of a photograph.
        tokenizer: "trained" (on the train sentences, kept with the prepared data) or a vocabulary's path.
        augment: What is done to training images.
        images: Pictures that the images of an example become, neighbours side by side; 0 leaves each to itself.
        example_images: Images that an example comes with, before that; 0 takes as many as the data has.
        start: The first token of every text, in place of the vocabulary's own; either makes the vocabulary longer by
            both. BLIP's encoders that read images want [ENC], its decoders [DEC].
        prompt: Words that every text begins with (BLIP's captions: "a picture of").
        workers: Processes that read training data; 0 reads in threads of this one.
        seed: Seed of order and augmentation.
        fingerprint: Of the prepared data set (`Dataset.fingerprint`); "" takes whatever is there.

    Raises:
        ConfigError: a value that is not accepted.
    """

    dataset: str
    image_size: PositiveInt
    text_length: Annotated[int, at_least(3)]  # the start, a word, the end
    batch_size: PositiveInt
    data_dir: Path = "~/.cache/smarttrim_jax"
    source: PathOrNone = ""
    resize: Resize = "resize"
    tokenizer: Path = "trained"
    augment: Augment = "none"
    images: NonNegativeInt = 0
    example_images: NonNegativeInt = 0
    start: Start = ""
    prompt: str = ""
    workers: Annotated[int, between(0, 1024)] = 0  # each is a process
    seed: Seed = 0
    fingerprint: str = ""

    def check(self) -> None:
        """Makes sure that the fields fit together; see `Settings.check`."""
        images = max(self.images, self.example_images, 1)
        size = self.batch_size * images * 3 * self.image_size**2
        if size > MOST_BATCH_BYTES:
            raise ConfigError(
                f"batch_size is {self.batch_size}, with {images} image(s) of {self.image_size} pixels an example: "
                f"{decimal.Decimal(size):.1e} bytes a batch; lower batch_size or image_size"
            )
