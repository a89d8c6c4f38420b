"""What is found for a query is what recall counts."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from smarttrim_jax.metrics.retrieval import Side, _ranks, similarities
from smarttrim_jax.serving.retrieved import SHOWN, retrieve


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_the_most_similar_are_found_and_the_place_is_that_of_recall(count: int, kinds: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, kinds, count)
    # Small whole numbers, so that many similarities are equal.
    queries = Side(random.integers(-2, 3, (count, 2)).astype(np.float32), labels)
    candidates = Side(random.integers(-2, 3, (count, 2)).astype(np.float32), labels)
    contents = [f"text {number}" for number in range(count)]
    scores = queries.features @ candidates.features.T
    found = list(retrieve(similarities(queries, candidates), labels, contents))
    assert [each.place for each in found] == (_ranks(queries, candidates) + 1).tolist()
    for row, each in enumerate(found):
        numbers = [contents.index(one.content) for one in each.first]
        assert len(numbers) == len(set(numbers)) == min(SHOWN, count) == min(SHOWN, each.candidates)
        assert [one.score for one in each.first] == sorted(scores[row].tolist(), reverse=True)[:SHOWN]
        assert [one.score for one in each.first] == scores[row, numbers].tolist()
        assert [one.right for one in each.first] == (labels[numbers] == labels[row]).tolist()
        first_right = next((place for place, one in enumerate(each.first, 1) if one.right), None)
        assert first_right == (each.place if each.place <= SHOWN else None)


def test_equal_candidates_of_one_label_are_found_once() -> None:
    features = np.eye(4)[[0, 0, 1, 2, 2]]
    labels = np.array([0, 0, 1, 2, 3])
    side = Side(features, labels)
    texts = list(retrieve(similarities(side, side), labels, ["a", "a", "b", "c", "c"]))
    assert [one.content for one in texts[2].first] == ["b", "a", "c"]
    assert [each.candidates for each in texts] == [4] * 5
    images = np.zeros((5, 1, 2, 2, 3), np.uint8)
    assert [each.candidates for each in retrieve(similarities(side, side), labels, images)] == [4] * 5
