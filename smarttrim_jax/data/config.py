"""Settings of the data: what is read, and how."""

import dataclasses
import decimal
from typing import Annotated

from smarttrim_jax.configuration import Settings
from smarttrim_jax.data.augment import Augment
from smarttrim_jax.data.images import Resize
from smarttrim_jax.data.sentences import TextCleaning
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.ranges import NonNegativeInt, Path, PathOrNone, PositiveInt, Seed, SpecialToken, at_least, between

MOST_BATCH_BYTES = 2**40
"""Maximum size of the images of one batch: a tebibyte, more than a thousand machines read at once."""


@dataclasses.dataclass(frozen=True)
class DataConfig(Settings):
    """Settings of a data set and of its batches.

    Attributes:
        dataset: Name of the data set, `package.module:Builder` for one of your own, or "jsonl" for a folder of
            your own; "" where the data was read by a training loop of your own.
        image_size: Height and width of the images, in pixels.
        text_length: Tokens of every text, the start and end token included.
        batch_size: Number of examples of a batch, over all processes.
        data_dir: Folder in which prepared data is kept.
        source: Where the raw files are (see the builder). Except for "jsonl", it is needed only for the first
            preparation; a changed source, or another one, needs another `data_dir`.
        options: Choices of the data set as `name=value,name=value` (see `Options` of the builder); prepared data of
            other options is kept beside.
        resize: "resize" takes the whole image, "resize_crop" the centre of a photograph.
        tokenizer: "trained" (on the train sentences, kept with the prepared data) or a vocabulary's path.
        augment: Augmentation of training images, as the official releases do it: "clip_randaug" (METER), "blip", or
            "blip_nlvr2", which also swaps the two images of an example at random and exchanges "left" and "right" in
            its text. Evaluation never augments or swaps, whereas the official BLIP swaps there too.
        blind: Whether every image is white, in training and evaluation: the baseline of what texts alone give away.
        images: Number of pictures into which the images of an example are combined side by side; 0 combines none.
        example_images: Number of images of an example before they are combined; 0 takes that of the data.
        start: First token of every text, in place of the vocabulary's own, to which it is added. The model says what
            it must be (`ModelConfig.text_start`).
        prompt: Words that every text begins with (BLIP's captions: "a picture of").
        text_cleaning: Cleaning of texts, in training and wherever the model is used: "none" (METER),
            "blip_question" or "blip_caption" (also retrieval and NLVR2); see `sentences.clean_text`.
        max_words: Words after which a text is cut, the prompt not counted; 0 never cuts. Official BLIP: 50 for
            questions, 40 for NLVR2, 30 for captions and retrieval.
        workers: Number of processes that read training data; 0 reads in threads of the main process.
        seed: Seed of the order and of augmentation.
        fingerprint: Fingerprint of the prepared data set (`Dataset.fingerprint`); "" accepts any.

    Raises:
        ConfigError: A value is not accepted.
    """

    dataset: str
    image_size: PositiveInt
    text_length: Annotated[int, at_least(3)]  # At least the start, a word and the end.
    batch_size: PositiveInt
    data_dir: Path = "~/.cache/smarttrim_jax"
    source: PathOrNone = ""
    options: str = ""
    resize: Resize = "resize"
    tokenizer: Path = "trained"
    augment: Augment = "none"
    blind: bool = False
    images: NonNegativeInt = 0
    example_images: NonNegativeInt = 0
    start: SpecialToken = ""
    prompt: str = ""
    text_cleaning: TextCleaning = "none"
    max_words: NonNegativeInt = 0
    workers: Annotated[int, between(0, 1024)] = 0  # Each worker is a process.
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
