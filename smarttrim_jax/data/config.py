"""What is read and how: the settings of the data."""

import dataclasses
import typing
from typing import Literal

from smarttrim_jax.data.images import Resize
from smarttrim_jax.errors import ConfigError

DatasetName = Literal["", "easy_vqa", "easy_vqa_captions", "nlvr"]
Augment = Literal["none", "clip_randaug"]
Start = Literal["", "[ENC]", "[DEC]"]

_CHOICES = {"dataset": DatasetName, "resize": Resize, "augment": Augment, "start": Start}
_LEAST = {
    "image_size": 1,
    "text_length": 3,
    "batch_size": 1,
    "images": 0,
    "example_images": 0,
    "workers": 0,
    "seed": 0,
}


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Settings of a data set and of its batches.

    Attributes:
        dataset: The name of the data set; "" where a loop of the user's own reads the data.
        image_size: height and width of the images in pixels.
        text_length: tokens of every text, the start and end token included.
        batch_size: examples of a batch over all processes.
        data_dir: where prepared data is kept.
        source: where the raw files are (see the builder); needed for the first preparation only. To prepare
            from another source, choose another `data_dir`.
        resize: "resize" takes the whole image, "resize_crop" the centre of a photograph.
        tokenizer: "trained" (on the train sentences, kept with the prepared data) or a vocabulary's path.
        augment: what is done to training images.
        images: pictures that the images of an example become, neighbours side by side; 0 leaves each to itself.
        example_images: Images that an example comes with, before that; 0 takes as many as the data has.
        start: the first token of every text, in place of the vocabulary's own; either makes the vocabulary longer by
            both. BLIP's encoders that read images want [ENC], its decoders [DEC].
        prompt: words that every text begins with (BLIP's captions: "a picture of").
        workers: processes that read training data; 0 reads in threads of this one.
        seed: of order and augmentation.
        fingerprint: Of the prepared data set (`Dataset.fingerprint`); "" takes whatever is there.

    Raises:
        ConfigError: a value that is not accepted.
    """

    dataset: DatasetName
    image_size: int
    text_length: int
    batch_size: int
    data_dir: str = "~/.cache/smarttrim_jax"
    source: str = ""
    resize: Resize = "resize"
    tokenizer: str = "trained"
    augment: Augment = "none"
    images: int = 0
    example_images: int = 0
    start: Start = ""
    prompt: str = ""
    workers: int = 0
    seed: int = 0
    fingerprint: str = ""

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value, accepted = getattr(self, name), typing.get_args(choices)
            if value not in accepted:
                raise ConfigError(f"{name} is {value!r}; accepted: {', '.join(map(repr, accepted))}")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value < least:
                raise ConfigError(f"{name} is {value}; it must be at least {least}")
