"""What a model of retrieval finds among the explained examples: images for a text, and texts for an image."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from smarttrim_jax.metrics.retrieval import Side, similarities, wrong_before

SHOWN = 3
"""Candidates that are kept of every query."""


class Candidate(NamedTuple):
    """An image or a text that was compared with a query.

    Attributes:
        content: The images as the model saw them, `[images, size, size, 3]`, or the text.
        similarity: Cosine of the angle between the features of candidate and query.
        right: Whether it belongs to the query.
    """

    content: Any
    similarity: float
    right: bool


class Retrieved(NamedTuple):
    """What a query finds.

    Attributes:
        first: The most similar candidates, at most `SHOWN`, the most similar first.
        place: Place of the first right candidate, from 1; wrong ones of equal similarity come before it.
        candidates: Number of candidates.
    """

    first: list[Candidate]
    place: int
    candidates: int


def retrieve(queries: Side, candidates: Side, contents: Sequence[Any]) -> Iterator[Retrieved]:
    """Ranks all candidates for every query by similarity, as the metric `recall` does.

    Args:
        queries: Features and labels of the queries.
        candidates: Features and labels of the candidates; an equal label belongs to a query.
        contents: What each candidate is; see `Candidate`. Equal ones of one label are one candidate.

    Yields:
        What each query finds, in order.
    """
    numbers = []
    known = set()
    for number, (content, label) in enumerate(zip(contents, candidates.labels.tolist(), strict=True)):
        candidate = (content if isinstance(content, str) else content.tobytes(), label)
        if candidate not in known:
            known.add(candidate)
            numbers.append(number)
    candidates = Side(candidates.features[numbers], candidates.labels[numbers])
    for labels, scores in similarities(queries, candidates):
        belongs = labels[:, None] == candidates.labels
        before = wrong_before(scores, belongs)
        for row, place in enumerate(before + 1):
            best = np.lexsort((belongs[row], -scores[row]))[:SHOWN]
            first = [Candidate(contents[numbers[i]], float(scores[row, i]), bool(belongs[row, i])) for i in best]
            yield Retrieved(first, int(place), len(numbers))
