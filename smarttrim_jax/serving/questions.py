"""Questions as users ask them, and as the model reads them."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8

from smarttrim_jax.data.images import grouped, open_image, side_by_side, to_array
from smarttrim_jax.data.sentences import clean_text
from smarttrim_jax.data.text import TextEncoder
from smarttrim_jax.errors import DataError
from smarttrim_jax.tasks import Captions, Task


@dataclasses.dataclass(frozen=True)
class Question:
    """A question about images.

    Attributes:
        images: As many images as the model takes; each a file, a PIL image or a uint8 array, see
            `data.images.open_image`.
        text: Question or statement; ignored by a model that writes captions.
    """

    images: tuple[Any, ...]
    text: str = ""


@dataclasses.dataclass(frozen=True)
class PreparedQuestion:
    """A question as the model reads it.

    Attributes:
        images: Pixels, not yet normalised, `[images, size, size, 3]`.
        ids: Token ids of the text, `[tokens]`.
        mask: 1 for tokens, 0 for padding, `[tokens]`.
        text_cut: Whether the text was longer and its end was cut off.
    """

    images: UInt8[np.ndarray, "images size size 3"]
    ids: Int32[np.ndarray, " tokens"]
    mask: Int32[np.ndarray, " tokens"]
    text_cut: bool


class QuestionReader:
    """Reads the images of questions and encodes their texts in the same way as the model's training data.

    Args:
        task: Task that the model was trained for.
        text: Tokenizer of the model.
    """

    def __init__(self, task: Task, text: TextEncoder):
        self._task = task
        self._text = text

    def __call__(self, question: Question) -> PreparedQuestion:
        """Prepares one question.

        Args:
            question: The question.

        Returns:
            Pixels and token ids.

        Raises:
            DataError: An image cannot be read, the number of images is not that of the model, or the text is empty or
                not a string.
        """
        count = len(question.images)
        if count != self.images:
            given = "1 image" if count == 1 else f"{count} images"
            raise DataError(f"'{question.text}' comes with {given}; the model takes {self.images}")
        return PreparedQuestion(self.pixels(question.images), *self.encode(question.text))

    @property
    def images(self) -> int:
        """The number of images of a question."""
        config = self._task.config
        return config.data.example_images or config.model.images

    def pixels(self, images: Sequence[Any]) -> UInt8[np.ndarray, "images size size 3"]:
        """Reads the images of one question.

        Args:
            images: The images, each in a form that `data.images.open_image` takes.

        Returns:
            Pixels, not yet normalised, `[images, size, size, 3]`.

        Raises:
            DataError: An image cannot be read.
        """
        data = self._task.config.data
        pictures = map(side_by_side, grouped([open_image(image) for image in images], data.images))
        return np.stack([to_array(picture, data.image_size, data.resize) for picture in pictures])

    def encode(self, text: Any) -> tuple[Int32[np.ndarray, " tokens"], Int32[np.ndarray, " tokens"], bool]:
        """Encodes a text; a model that writes captions reads its own prompt instead.

        Args:
            text: Question or statement.

        Returns:
            Token ids `[tokens]`, mask `[tokens]` (1 for tokens, 0 for padding), and whether the text was longer and
            its end was cut off.

        Raises:
            DataError: The text is empty or not a string.
        """
        if isinstance(self._task, Captions):
            prompt = self._task.prompt.astype(np.int32)
            return prompt, np.ones(len(prompt), np.int32), False
        if not isinstance(text, str):
            raise DataError(f"the text is {text!r}; it must be a string")
        if not text:
            raise DataError("there is no text; this model needs a question or a statement")
        data = self._task.config.data
        cleaned, words_cut = clean_text(text, data.text_cleaning, data.max_words, data.prompt)
        try:
            ids, mask, tokens_cut = self._text.encode_noting_cut(cleaned)
        except DataError as error:
            raise DataError(f"text '{text}': {error}") from None
        return ids, mask, words_cut or tokens_cut


def listed(texts: str | Iterable[str]) -> list[str]:
    """Lists the texts of a call, which may be one alone.

    Args:
        texts: One text, or several.

    Returns:
        The texts.

    Raises:
        DataError: It is neither.
    """
    if not isinstance(texts, Iterable):
        raise DataError(f"texts is {texts!r}; give a text or a list of texts")
    return [texts] if isinstance(texts, str) else list(texts)
