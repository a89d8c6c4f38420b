"""Captions of easy-VQA's images, derived from the questions about each image."""

import collections
from collections.abc import Sequence

from smarttrim_jax.data.builders.easy_vqa import EasyVQA, Question

SHAPES = ("circle", "rectangle", "triangle")
COLORS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
CAPTIONS = tuple(f"a {color} {shape}" for color in COLORS for shape in SHAPES)


class EasyVQACaptions(EasyVQA):
    """easy-VQA's images with captions such as "a blue circle", for describing and finding images.

    Shape and color are what the image's questions and their answers tell; images of which they do not tell both are
    left out. The answer of an example is the number of its caption, equal for images that look alike. Files and
    splits are those of `EasyVQA`.

    | split | images |
    |---|---|
    | train | 3,180 |
    | calibration | 362 |
    | test | 880 |
    """

    def answers(self) -> list[str]:
        """Names the captions, which are the classes."""
        return list(CAPTIONS)

    def _examples_of(self, questions: list[Question]) -> Sequence[Question]:
        told: dict[int, set[str]] = collections.defaultdict(set)
        for question, answer, image in questions:
            told[image] |= _told(question, answer)
        captions = []
        for image, words in told.items():
            shapes, colors = ([word for word in known if word in words] for known in (SHAPES, COLORS))
            if len(shapes) == len(colors) == 1:
                caption = f"a {colors[0]} {shapes[0]}"
                captions.append((caption, caption, image))
        return captions


def _told(question: str, answer: str) -> set[str]:
    """Words of a question and its answer that are true of the image."""
    words = set(question.rstrip("?").split())
    if "what" in words:
        return words | {answer}
    denied = bool(words & {"no", "not"})
    return words if (answer == "no") == denied else set()
