"""The accuracy of the official VQA evaluation."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from smarttrim_jax.metrics.base import Mean, MeansByGroup
from smarttrim_jax.vqa_answers import normalized_answer, stripped_answer

AGREEING = 3
"""An answer is wholly right if so many people gave it."""


class VqaAccuracy:
    """`vqa_accuracy`: how far answers agree with those of people, as `vqaEval.py` of GT-Vision-Lab/VQA measures it.

    The accuracy over the answers of one type is a score of its own, such as `vqa_accuracy (number)`. Questions
    without answers of people, those of a test set whose labels are secret, are left out.
    """

    needs = ("metadata",)

    def __init__(self) -> None:
        self._mean = Mean()
        self._by_type = MeansByGroup()
        self._people: list[Sequence[str]] = []

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Adds some examples.

        Args:
            outputs: `answer`, the text of the answer, `[examples]`.
            targets: `metadata` with `human_answers`, a list of texts, mostly ten, and `answer_type`, both optional.
        """
        for answer, metadata in zip(outputs["answer"], targets["metadata"], strict=True):
            people = metadata.get("human_answers")
            if not people:
                continue
            accuracy = agreement(answer, people)
            self._mean.add([accuracy])
            self._people.append(people)
            if "answer_type" in metadata:
                self._by_type.add([accuracy], [metadata["answer_type"]])

    def compute(self) -> dict[str, float]:
        """Returns the mean over all examples and that of each type; NaN where no example has answers of people."""
        by_type = {f"vqa_accuracy ({name})": value for name, value in self._by_type.values.items()}
        return {"vqa_accuracy": self._mean.value} | by_type

    def chance(self) -> dict[str, float]:
        """Returns the accuracy of the answer that people gave most often, for all questions alike."""
        given = collections.Counter(answer for people in self._people for answer in people)
        mean = Mean()
        for answer, _ in given.most_common(1):
            mean.add([agreement(answer, people) for people in self._people])
        return {"vqa_accuracy": mean.value}


def agreement(answer: str, people: Sequence[str]) -> float:
    """Measures how far an answer agrees with those of people.

    An answer is compared with all people but one, for each of them; it is wholly right if three of these gave it.
    Answers are normalised first, unless all people gave the same.

    Args:
        answer: Answer of a model.
        people: Answers of several people to the same question.

    Returns:
        The mean of min(1, matches / 3) over all sets of people that leave out one, in 0..1.
    """
    others = [stripped_answer(each) for each in people]
    answer = stripped_answer(answer)
    if len(set(others)) > 1:
        others = [normalized_answer(each) for each in others]
        answer = normalized_answer(answer)
    matches = others.count(answer)
    if matches == 0:
        return 0.0
    # Without one who agrees there is a match less.
    of_each = [min(1.0, (matches - (other == answer)) / AGREEING) for other in others]
    return sum(of_each) / len(of_each)
