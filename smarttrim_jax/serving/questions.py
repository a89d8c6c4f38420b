"""Questions as users ask them, and as the model reads them."""

import dataclasses
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
        return PreparedQuestion(self._read(question), *self._encode(question.text))

    def _read(self, question: Question) -> np.ndarray:
        data, model = self._task.config.data, self._task.config.model
        needed = data.example_images or model.images
        if len(question.images) != needed:
            raise DataError(f"'{question.text}' comes with {len(question.images)} images; the model takes {needed}")
        images = [open_image(image) for image in question.images]
        pictures = map(side_by_side, grouped(images, data.images))
        return np.stack([to_array(picture, data.image_size, data.resize) for picture in pictures])

    def _encode(self, text: Any) -> tuple[np.ndarray, np.ndarray, bool]:
        if isinstance(self._task, Captions):
            prompt = self._task.prompt.astype(np.int32)
            return prompt, np.ones(len(prompt), np.int32), False
        if not isinstance(text, str):
            raise DataError(f"the text is {text!r}; it must be a string")
        data = self._task.config.data
        cleaned, words_cut = clean_text(text, data.text_cleaning, data.max_words, data.prompt)
        try:
            ids, mask, tokens_cut = self._text.encode_noting_cut(cleaned)
        except DataError as error:
            raise DataError(f"text '{text}': {error}") from None
        return ids, mask, words_cut or tokens_cut
