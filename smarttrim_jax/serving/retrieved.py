"""What a model of retrieval finds among the explained examples: images for a text, and texts for an image."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from smarttrim_jax.metrics.retrieval import wrong_before

SHOWN = 3
"""Candidates that are kept of every query."""


class Candidate(NamedTuple):
    """An image or a text that was compared with a query.

    Attributes:
        content: The images as the model saw them, `[images, size, size, 3]`, or the text.
        score: How well it fits the query: the cosine of the angle between their features, or the logit of a
            model that judges pairs.
        right: Whether it belongs to the query.
    """

    content: Any
    score: float
    right: bool


class Retrieved(NamedTuple):
    """What a query finds.

    Attributes:
        first: The candidates of the highest scores, at most `SHOWN`, the highest first.
        place: Place of the first right candidate, from 1; wrong ones of equal score come before it.
        candidates: Number of candidates.
    """

    first: list[Candidate]
    place: int
    candidates: int


def retrieve(
    scored: Iterable[tuple[np.ndarray, np.ndarray]], labels: np.ndarray, contents: Sequence[Any]
) -> Iterator[Retrieved]:
    """Ranks all candidates for every query, as the metrics of retrieval do.

    Args:
        scored: Labels of some queries, `[queries]`, with their scores, `[queries, candidates]`; in parts as
            `metrics.retrieval.similarities` yields them.
        labels: Labels of the candidates, `[candidates]`; an equal label belongs to a query.
        contents: What each candidate is; see `Candidate`. Equal ones of one label are one candidate.

    Yields:
        What each query finds, in order.
    """
    numbers = []
    known = set()
    for number, (content, label) in enumerate(zip(contents, labels.tolist(), strict=True)):
        candidate = (content if isinstance(content, str) else content.tobytes(), label)
        if candidate not in known:
            known.add(candidate)
            numbers.append(number)
    for asked, all_scores in scored:
        scores = all_scores[:, numbers]
        belongs = asked[:, None] == labels[numbers]
        before = wrong_before(scores, belongs)
        for row, place in enumerate(before + 1):
            best = np.lexsort((belongs[row], -scores[row]))[:SHOWN]
            first = [Candidate(contents[numbers[i]], float(scores[row, i]), bool(belongs[row, i])) for i in best]
            yield Retrieved(first, int(place), len(numbers))
