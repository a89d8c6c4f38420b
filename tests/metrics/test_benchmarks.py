"""The metrics of published benchmarks equal what their official evaluations compute."""

import collections
import itertools
import random
from typing import Any

import numpy as np
import pytest

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.metrics import Scores
from smarttrim_jax.metrics.vqa import agreement
from smarttrim_jax.vqa_answers import normalized_answer

TEN = ["red"] * 4 + ["dark red"] * 3 + ["Red."] + ["blue"] + ["a red"]


def scored(name: str, outputs: dict[str, Any], targets: dict[str, Any]) -> dict[str, float | None]:
    scores = Scores([name])
    scores.update(outputs, targets)
    return scores.compute()


@pytest.mark.parametrize(
    ("answer", "people", "expected"),
    [
        ("red", TEN, 1.0),  # Six of ten, once "Red." and "a red" are normalised.
        ("dark red", TEN, (3 * 2 / 3 + 7 * 1) / 10),
        ("blue", TEN, (9 * 1 / 3) / 10),
        ("green", TEN, 0.0),
        ("The Red", TEN, 1.0),
        ("yes", ["yes"] * 10, 1.0),
        ("Yes", ["yes"] * 10, 0.0),  # Nothing is normalised where all people agree.
        (" yes\n", ["yes"] * 10, 1.0),
        ("2", ["two"] * 10, 0.0),
        ("2", ["two"] * 9 + ["3"], 1.0),
        ("one", ["one", "2"], (1 / 3) / 2),
    ],
)
def test_an_answer_agrees_with_people_as_officially(answer: str, people: list[str], expected: float) -> None:
    assert agreement(answer, people) == pytest.approx(expected, abs=1e-12)


def test_agreement_is_the_mean_over_all_sets_of_nine() -> None:
    chance = random.Random(0)
    for _ in range(300):
        people = [chance.choice(["two", "2", "3", "the two", "a dog", "dog"]) for _ in range(10)]
        for answer in ("2", "dog", "x"):
            same = len(set(people)) == 1
            given = people if same else [normalized_answer(each) for each in people]
            nines = itertools.combinations(given, 9)
            expected = np.mean([min(1, collections.Counter(nine)[answer] / 3) for nine in nines])
            assert agreement(answer, people) == pytest.approx(expected, abs=1e-12)


def test_vqa_accuracy_is_overall_and_by_answer_type() -> None:
    metadata = [
        {"human_answers": ["yes"] * 10, "answer_type": "yes/no"},
        {"human_answers": ["2"] * 2 + ["3"] * 8, "answer_type": "number"},
        {"human_answers": ["no"] * 10, "answer_type": "yes/no"},
        {"human_answers": ["two"] * 10},
        {"answer_type": "other"},
        {"human_answers": [], "answer_type": "other"},
    ]
    computed = scored("vqa_accuracy", {"answer": ["yes", "2", "yes", "two", "x", "x"]}, {"metadata": metadata})
    two_of_ten = (2 * 1 + 8 * 2) / 3 / 10
    assert list(computed) == ["vqa_accuracy", "vqa_accuracy (number)", "vqa_accuracy (yes/no)"]
    assert list(computed.values()) == pytest.approx([(1 + two_of_ten + 0 + 1) / 4, two_of_ten, 0.5])


def test_vqa_accuracy_of_a_secret_test_set_is_none() -> None:
    assert scored("vqa_accuracy", {"answer": ["yes"]}, {"metadata": [{}]}) == {"vqa_accuracy": None}


def test_accuracy_by_type_weighs_types_alike() -> None:
    metadata = [{"question_type": name} for name in ("what is", "how many", "what is", "what is", "how many")]
    outputs, targets = {"choice": np.array([0, 1, 2, 3, 4])}, {"label": np.array([0, 1, 2, 0, 0])}
    computed = scored("accuracy_by_type", outputs, targets | {"metadata": metadata})
    assert list(computed) == ["accuracy_by_type", "accuracy (how many)", "accuracy (what is)"]
    assert list(computed.values()) == pytest.approx([(1 / 2 + 2 / 3) / 2, 1 / 2, 2 / 3])


def test_a_group_is_consistent_only_if_all_of_it_is_right() -> None:
    chance = np.random.default_rng(1)
    groups, right = chance.integers(0, 30, 100), chance.random(100) < 0.7
    scores = Scores(["consistency"])
    for part in (slice(0, 37), slice(37, 38), slice(38, 100)):
        metadata = [{"group": f"s{group}"} for group in groups[part]]
        scores.update({"choice": right[part]}, {"label": np.ones(100, bool)[part], "metadata": metadata})
    expected = np.mean([right[groups == group].all() for group in set(groups)])
    assert 0 < expected < 1
    assert scores.compute() == {"consistency": pytest.approx(expected)}


@pytest.mark.parametrize(("name", "key"), [("accuracy_by_type", "question_type"), ("consistency", "group")])
@pytest.mark.parametrize("metadata", [{}, {"question_type": 3, "group": None}])
def test_metadata_that_lacks_what_a_metric_groups_by_is_one_sentence(name: str, key: str, metadata: Any) -> None:
    with pytest.raises(ConfigError, match=f"the metadata of an example has '.+' as {key}; take data that has it"):
        scored(name, {"choice": np.array([1])}, {"label": np.array([1]), "metadata": [metadata]})


@pytest.mark.parametrize("name", ["vqa_accuracy", "accuracy_by_type", "consistency"])
def test_metadata_is_read_only_where_it_is_needed(name: str) -> None:
    assert Scores([name]).needs == {"metadata"}
    assert not Scores(["accuracy"]).needs
