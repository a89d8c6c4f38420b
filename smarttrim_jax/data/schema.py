"""The one record that every data set is made of, and what is wrong with records that are none."""

import dataclasses
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeGuard, get_args

Kind = Literal["answer", "answers", "references"]
"""What is known about the images of a record: one answer, several with weights, or texts that describe them."""
KINDS: tuple[Kind, ...] = get_args(Kind)

Image = bytes | str | os.PathLike[str]
"""The contents of an image's file, or its path on a disk or in a bucket."""

SPLITS = ("train", "calibration", "test")
"""What is trained on, what the speed dial is measured on, and what is evaluated."""

_HALF_A_PAIR = re.compile("[\ud800-\udfff]")

UNKNOWN = -1
"""The number of an answer that the data set has no number for: it counts as wrong, whatever is answered."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One example of a data set; exactly one of `answer`, `answers` and `references` is given.

    Attributes:
        id: Its name, unique in its split; it stands beside every output about it.
        images: Its images, each a file's bytes (PNG, JPEG, WebP, GIF, BMP or TIFF) or the path of such a file. An
            image that several records share is kept once.
        text: A question or statement about the images; records with references need none.
        answer: The right answer.
        answers: Right answers, and how much each of them counts: numbers above 0, where 1 is wholly right. Empty for
            a question whose answers are secret, which only "test" may have.
        references: Texts that describe the images, the first of which evaluation reads.
        metadata: What else metrics and result files need of it, as values that JSON can hold: the kind of its
            question, or its number in the source. Models never see it.
    """

    id: str
    images: Sequence[Image]
    text: str = ""
    answer: str | None = None
    answers: Mapping[str, float] | None = None
    references: Sequence[str] | None = None
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """Which of `answer`, `answers` and `references` is given."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)


def problems(record: Any) -> Iterator[str]:
    """Finds what is wrong with a record, except for the contents of its images.

    Args:
        record: Any value that a data set gave.

    Yields:
        Each fault as a plural, as `Faults.add` takes it: "ids that are no text".
    """
    if not isinstance(record, Record):
        yield "values that are no smarttrim_jax.data.Record"
        return
    if not is_text(record.id):
        yield "ids that are no text"
    if isinstance(record.images, str | bytes) or not isinstance(record.images, Sequence) or not record.images:
        yield "records whose images are no list with at least one"
    elif not all(map(is_image, record.images)):
        yield "images that are neither the bytes nor the path of a file"
    if not is_metadata(record.metadata):
        yield "metadata that are no mapping from names to values that JSON can hold"
    given = [kind for kind in KINDS if getattr(record, kind) is not None]
    if len(given) != 1:
        yield "records without exactly one of answer, answers and references"
        return
    if given != ["references"] and not is_text(record.text):
        yield "texts that are empty or no text"
    yield from _PROBLEMS[given[0]](getattr(record, given[0]))


def is_text(value: object) -> bool:
    """Tells whether a value is a text that is not blank and can be written as UTF-8.

    Args:
        value: Any value.

    Returns:
        True for such a text; False for half of a surrogate pair.
    """
    return isinstance(value, str) and bool(value.strip()) and _HALF_A_PAIR.search(value) is None


def is_answer(value: object) -> bool:
    """Tells whether a value can be the name of an answer: a text on one line, without spaces at its ends.

    Args:
        value: Any value.

    Returns:
        True for such a text.
    """
    return is_text(value) and value == str(value).strip() and "\n" not in str(value)


def is_image(value: object) -> TypeGuard[Image]:
    """Whether a value may be the image of a record: the bytes of a file, or the path of one."""
    return isinstance(value, bytes | str | os.PathLike)


def is_metadata(value: object) -> bool:
    """Whether a value may be the metadata of a record: a mapping from texts to what JSON can hold, without NaN."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return False
    try:
        json.dumps(dict(value), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):  # A lone surrogate is escaped, so it does no harm.
        return False
    return True


def _answer_problems(answer: Any) -> Iterator[str]:
    if not is_answer(answer):
        yield "answers that are not text of one line without spaces around it"


def _answers_problems(answers: Any) -> Iterator[str]:
    if not isinstance(answers, Mapping):
        yield "answers that are no mapping from names to weights"
        return
    if not all(map(is_answer, answers)):
        yield "answers that are not text of one line without spaces around it"
    if not all(_is_weight(weight) for weight in answers.values()):
        yield "weights of answers that are no numbers above 0 and at most 1"


def _references_problems(references: Any) -> Iterator[str]:
    is_list = isinstance(references, Sequence) and not isinstance(references, str | bytes)
    if not is_list or not references or not all(map(is_text, references)):
        yield "references that are no list of texts"


def _is_weight(weight: Any) -> bool:
    is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
    return is_number and math.isfinite(weight) and 0 < weight <= 1


_PROBLEMS = {"answer": _answer_problems, "answers": _answers_problems, "references": _references_problems}
