"""Sort-of-CLEVR (Santoro et al. 2017): questions about one of several coloured shapes, and about how they lie."""

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

import numpy as np
from PIL import Image

from smarttrim_jax.configuration import Settings
from smarttrim_jax.data.builders.base import DatasetBuilder
from smarttrim_jax.data.images import encode_png
from smarttrim_jax.data.schema import Record
from smarttrim_jax.ranges import PositiveInt, Seed, at_least, between

COLORS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "orange": (255, 156, 0),
    "gray": (128, 128, 128),
    "yellow": (255, 255, 0),
}
SHAPES = ("square", "circle")
ANSWERS = ("yes", "no", *SHAPES, "1", "2", "3", "4", "5", "6")
QUESTIONS = {
    "non_relational": (
        "what is the shape of the {} object?",
        "is the {} object on the left?",
        "is the {} object at the top?",
    ),
    "relational": (
        "what is the shape of the object closest to the {} object?",
        "what is the shape of the object furthest from the {} object?",
        "how many objects have the shape of the {} object?",
    ),
}
"""Questions by their kind; the colour names the object that each is about."""
SIDE = 75
"""Width and height of an image, in pixels."""
REACH = 5
"""Pixels from the centre of an object to its edge; an object is 11 pixels wide."""
QUESTIONS_PER_KIND = 10
CALIBRATION_PERIOD = 20


class Scene(NamedTuple):
    """The objects of an image.

    Attributes:
        centers: `[objects, 2]`, column and row in pixels.
        colors: `[objects]`, indices into `COLORS`; all differ.
        shapes: `[objects]`, indices into `SHAPES`.
    """

    centers: np.ndarray
    colors: np.ndarray
    shapes: np.ndarray


@dataclasses.dataclass(frozen=True)
class SortOfCLEVROptions(Settings):
    """Choices of Sort-of-CLEVR; the defaults are the paper's.

    Attributes:
        objects: Number of objects of every image.
        kinds: Which questions are asked.
        train_images: Number of images of train and calibration together.
        test_images: Number of images of test.
        seed: Seed of everything that is drawn.
    """

    objects: Annotated[int, between(2, len(COLORS))] = len(COLORS)
    kinds: Literal["both", "non_relational", "relational"] = "both"
    train_images: Annotated[int, at_least(CALIBRATION_PERIOD)] = 9800
    test_images: PositiveInt = 200
    seed: Seed = 0


class SortOfCLEVR(DatasetBuilder):
    """Sort-of-CLEVR: 10,000 drawn images, 200,000 questions, 10 answers.

    There are no files to fetch: everything is drawn from a seed, by the rules of the paper ("A simple neural network
    module for relational reasoning", section 4.2). An image of 75 x 75 pixels holds six objects, each a square or a
    circle with a colour of its own, whose centres are at least 10 pixels apart. Ten questions are about one object
    (its shape; whether it is in the left half; whether it is in the upper half), and ten about how objects relate
    (the shape of the closest; the shape of the furthest; how many have the same shape, itself included). Which object
    and which of three questions it is, is drawn; so a question may be asked twice.

    | split | images | questions | which |
    |---|---|---|---|
    | train | 9,310 | 186,200 | of the 9,800 training images those whose number 20 does not divide |
    | calibration | 490 | 9,800 | the others |
    | test | 200 | 4,000 | |

    `metadata` has the `question_type`, "non_relational" or "relational", and the question's original `encoding`: 11
    numbers, of which the first six tell the colour, two the kind and three which of the kind's questions it is.
    Preparation takes about two minutes and 60 MB. Any number of images may be asked for (`Options`); the first ones
    stay the same.
    """

    Options = SortOfCLEVROptions

    def answers(self) -> tuple[str, ...]:
        """Names the answers, in the order of the original encoding."""
        return ANSWERS

    def records(self, split: str) -> Iterator[Record]:
        """Yields ten questions of each kind for every image; see the class for the splits.

        Args:
            split: Name of the split: train, calibration or test.

        Yields:
            Records with an answer; the image is a PNG file's bytes.
        """
        options = self.options
        is_test = split == "test"
        for number in range(options.test_images if is_test else options.train_images):
            if not is_test and (number % CALIBRATION_PERIOD == 0) != (split == "calibration"):
                continue
            # Each image has a generator of its own, so that it does not depend on how many are drawn.
            rng = np.random.default_rng([options.seed, int(is_test), number])
            scene = draw_scene(rng, options.objects)
            picture = png(scene)
            for kind in QUESTIONS:
                asked = [
                    (int(rng.integers(options.objects)), int(rng.integers(3))) for _ in range(QUESTIONS_PER_KIND)
                ]
                if options.kinds not in ("both", kind):
                    continue
                for place, (about, question) in enumerate(asked):
                    color = int(scene.colors[about])
                    yield Record(
                        f"{'test' if is_test else 'train'}-{number}-{kind}-{place}",
                        [picture],
                        QUESTIONS[kind][question].format(list(COLORS)[color]),
                        answer(scene, about, kind, question),
                        metadata={"question_type": kind, "encoding": encoding(color, kind, question)},
                    )


def draw_scene(rng: np.random.Generator, objects: int) -> Scene:
    """Draws where objects are, and what they look like.

    Args:
        rng: Source of randomness.
        objects: Number of objects.

    Returns:
        The scene.
    """
    colors = rng.permutation(len(COLORS))[:objects]
    shapes = rng.integers(len(SHAPES), size=objects)
    while True:
        centers = rng.integers(REACH, SIDE - REACH, size=(objects, 2))
        distances = _distances(centers)
        if (distances[~np.eye(objects, dtype=bool)] >= 2 * REACH).all():
            return Scene(centers, colors, shapes)


def png(scene: Scene) -> bytes:
    """Draws a scene on white ground.

    Args:
        scene: The scene.

    Returns:
        Contents of a PNG file.
    """
    pixels = np.full((SIDE, SIDE, 3), 255, np.uint8)
    row, column = np.mgrid[:SIDE, :SIDE]
    palette = np.array(list(COLORS.values()), np.uint8)
    for center, color, shape in zip(*scene, strict=True):
        across = np.abs(column - center[0])
        down = np.abs(row - center[1])
        square = np.maximum(across, down) <= REACH
        circle = across**2 + down**2 <= (REACH + 0.5) ** 2
        pixels[circle if SHAPES[shape] == "circle" else square] = palette[color]
    return encode_png(Image.fromarray(pixels))


def answer(scene: Scene, about: int, kind: str, question: int) -> str:
    """Answers a question about a scene.

    Args:
        scene: The scene.
        about: Index of the object that the question is about.
        kind: Kind of the question, a key of `QUESTIONS`.
        question: Number of the question of this kind.

    Returns:
        The right answer. Of several objects at the same distance, the first one counts.
    """
    shapes = scene.shapes
    if kind == "non_relational":
        if question == 0:
            return SHAPES[shapes[about]]
        return "yes" if scene.centers[about, question - 1] < SIDE / 2 else "no"
    if question == 2:
        return str(int((shapes == shapes[about]).sum()))
    distances = _distances(scene.centers)[about]
    others = np.delete(np.arange(len(shapes)), about)
    nearest_or_furthest = distances[others].argmin() if question == 0 else distances[others].argmax()
    return SHAPES[shapes[others[nearest_or_furthest]]]


def encoding(color: int, kind: str, question: int) -> list[int]:
    """Encodes a question as the paper does.

    Args:
        color: Number of the colour that the question names.
        kind: Kind of the question, a key of `QUESTIONS`.
        question: Number of the question of this kind.

    Returns:
        11 numbers, three of which are 1: the colour (6), the kind (2) and the question (3).
    """
    ones = {color, len(COLORS) + list(QUESTIONS).index(kind), len(COLORS) + len(QUESTIONS) + question}
    return [int(place in ones) for place in range(11)]


def _distances(centers: np.ndarray) -> np.ndarray:
    """Distances between centres in pixels, `[objects, objects]`."""
    return np.asarray(np.linalg.norm(centers[:, None] - centers[None], axis=-1))
