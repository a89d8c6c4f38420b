"""Metrics are exact however the examples are divided, and what a metric does wrong is one sentence about it."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.metrics import METRICS, NamedValues, Scores
from smarttrim_jax.metrics import retrieval as retrieval_module

Values = dict[str, Any]
ELSEWHERE = ("coco_captions", "judged_recall", "reranked_recall", "reranked_recall_128")
"""Metrics that need a package or a model; they have tests of their own."""
NAMES = tuple(name for name in METRICS if name not in ELSEWHERE)


def examples(count: int, seed: int = 0) -> tuple[Values, Values]:
    """Outputs and targets that every metric of the library reads; some images belong to several texts."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    features = random.normal(size=(2, count, 3)).astype(np.float32)
    outputs = {
        "choice": random.integers(0, 4, count),
        "answer": [str(random.integers(0, 4)) for _ in range(count)],
        "right_words": random.integers(0, 5, count) / 4,
        "image_features": features[0],
        "text_features": features[1],
    }
    metadata = [
        {
            "question_type": f"type {random.integers(0, 3)}",
            "answer_type": f"type {random.integers(0, 3)}",
            "group": str(random.integers(0, 5)),
            "human_answers": [str(answer) for answer in random.integers(0, 4, 10)],
        }
        for _ in range(count)
    ]
    return outputs, {"label": labels, "metadata": metadata}


def scored(names: tuple[str, ...], outputs: Values, targets: Values, ends: tuple[int, ...]) -> Mapping[str, Any]:
    """The scores of examples that come in parts, each up to one of the ends."""
    scores = Scores(names)
    for start, end in zip((0, *ends), (*ends, None), strict=True):
        parts = []
        for values in (outputs, targets):
            part = copy.copy(values)
            part.update({name: array[start:end] for name, array in values.items()})
            parts.append(part)
        scores.update(*parts)
    return scores.compute()


@given(st.lists(st.integers(0, 12), max_size=4).map(sorted))
@settings(max_examples=20, deadline=None)
def test_scores_do_not_depend_on_how_examples_are_divided(ends: list[int]) -> None:
    outputs, targets = examples(12)
    assert scored(NAMES, outputs, targets, tuple(ends)) == scored(NAMES, outputs, targets, ())


def test_shares_are_those_of_all_examples() -> None:
    outputs, targets = {"choice": np.array([1, 2, 3]), "right_words": np.array([1.0, 0.5, 0.75])}, {}
    computed = scored(("word_accuracy", "accuracy"), outputs, targets | {"label": np.array([1, 2, 0])}, (2,))
    assert list(computed.items()) == [("word_accuracy", 0.75), ("accuracy", 2 / 3)]


def recall(images: Any, texts: Any, labels: Any) -> Mapping[str, Any]:
    return scored(("recall",), {"image_features": images, "text_features": texts}, {"label": np.asarray(labels)}, ())


def test_recall_counts_what_belongs_together() -> None:
    eye, labels = np.eye(4), [0, 1, 1, 2]
    assert set(recall(eye, eye, labels).values()) == {1.0}
    assert recall(eye, eye[[0, 2, 1, 3]], labels)["text_recall@1"] == 1  # 1 and 2 belong together
    moved = recall(eye, eye[[3, 1, 2, 0]], labels)
    assert moved["text_recall@1"] == moved["image_recall@1"] == 0.5
    assert moved["text_recall@5"] == 1


@pytest.mark.parametrize("at_once", [3, 1024])
def test_recall_looks_at_the_most_similar_in_both_directions(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(retrieval_module, "AT_ONCE", at_once)
    outputs, _ = examples(40, seed=3)
    labels = np.arange(40) // 2
    targets = {"label": labels}
    similarities = outputs["image_features"] @ outputs["text_features"].T
    computed = scored(("recall",), outputs, targets, (7, 19))
    expected = {}
    for side, table in (("text", similarities), ("image", similarities.T)):
        order = np.argsort(-table, axis=1)
        for k in (1, 5, 10):
            found = [labels[row] in labels[order[row, :k]] for row in range(40)]
            expected[f"{side}_recall@{k}"] = np.mean(found)
    assert 0 < expected["text_recall@1"] < expected["text_recall@10"] < 1
    assert dict(computed) == pytest.approx(expected | {"recall": np.mean(list(expected.values()))})
    assert next(iter(computed)) == "recall"


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_features_that_are_all_the_same_or_no_numbers_find_nothing(value: float) -> None:
    same = np.full((20, 3), value)
    assert set(recall(same, same, np.arange(20)).values()) == {0.0}


class Broken:
    """Does what its class says it does."""

    def update(self, outputs: Values, targets: Values) -> None:
        outputs["choice"]

    def compute(self) -> Any:
        return {"x": 1.0}


class Fails(Broken):
    def update(self, outputs: Values, targets: Values) -> None:
        raise RuntimeError("no words\nin the list")


class ReadsNothing(Broken):
    def update(self, outputs: Values, targets: Values) -> None:
        targets["caption"]


class ReadsMore(Broken):
    def update(self, outputs: Values, targets: Values) -> None:
        outputs["caption"]


class Lists(Broken):
    def compute(self) -> Any:
        return {"x": [1.0]}


class Words(Broken):
    def compute(self) -> Any:
        return {"x": "1"}


class Number(Broken):
    def compute(self) -> Any:
        return 1.0


class Same(Broken):
    def compute(self) -> Any:
        return {"accuracy": 1.0}


class NeedsText(Broken):
    needs = "metadata"


class NeedsNone(Broken):
    needs = None


class Asks(Broken):
    def __init__(self, length: int) -> None: ...


WRONG = {
    Fails: r"metric '.*Fails' fails: RuntimeError: no words$",
    ReadsNothing: r"fails: there is no target 'caption'; this task gives: 'label', 'metadata'$",
    ReadsMore: r"fails: the output 'caption' is computed on demand; give the metric's class needs = \('caption',\)$",
    Lists: r"computes \{'x': \[1.0\]\}; return numbers$",
    Words: r"computes \{'x': '1'\}; return numbers$",
    Number: r"computes no scores by name; return a dict of numbers$",
    Same: r"^two metrics compute 'accuracy'; leave one of them out$",
    NeedsText: r"needs 'metadata'; give a tuple of names$",
    NeedsNone: r"needs None; give a tuple of names$",
    Asks: r"metric '.*Asks' fails: TypeError: .*'length'$",
    dict: r"lacks a method update or compute$",
}


@pytest.mark.parametrize("cls", WRONG)
def test_what_a_metric_does_wrong_is_one_sentence(cls: Any) -> None:
    outputs, targets = examples(3)
    named = NamedValues("output", outputs, ("caption",)), NamedValues("target", targets)
    with pytest.raises(ConfigError, match=WRONG[cls]):
        scored(("accuracy", f"{cls.__module__}:{cls.__name__}"), *named, ())


def test_a_score_that_is_not_finite_is_none_as_it_is_without_examples() -> None:
    outputs, targets = examples(0)
    computed = scored(NAMES, outputs, targets, ())
    assert set(computed.values()) <= {None, 0.0}
    assert Scores(("accuracy",)).compute() == {"accuracy": None}


def test_a_metric_that_is_not_imported_is_not_looked_for() -> None:
    with pytest.raises(ConfigError, match=r"no name in a file is a reason to import it; pass --plugins=json\.tool"):
        Scores(("json.tool:Metric",))
