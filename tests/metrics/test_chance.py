"""The chance that reports show is what models that look at nothing score."""

import itertools
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from smarttrim_jax.metrics import Scores, retrieval
from smarttrim_jax.metrics.retrieval import Recall
from smarttrim_jax.reporting.tables import format_report

TYPES = ["shape", "place", "count"]


def scored(names: Sequence[str], choices: np.ndarray, labels: np.ndarray, metadata: list[dict[str, str]]) -> Scores:
    scores = Scores(names)
    for some in np.array_split(np.arange(len(labels)), 3):
        targets = {"label": labels[some], "metadata": [metadata[number] for number in some]}
        scores.update({"choice": choices[some]}, targets)
    return scores


@pytest.mark.parametrize("seed", range(5))
def test_chance_is_the_best_constant_answer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, size=30, p=[0.1, 0.2, 0.6, 0.1])
    metadata = [{"group": str(rng.integers(12)), "question_type": str(rng.choice(TYPES))} for _ in labels]
    names = ["accuracy", "consistency", "accuracy_by_type"]
    constants = [scored(names, np.full_like(labels, answer), labels, metadata).compute() for answer in range(4)]
    best = {name: max(scores[name] or 0.0 for scores in constants) for name in constants[0]}
    # To each type its own constant answer.
    best["accuracy_by_type"] = np.mean([best[f"accuracy ({name})"] for name in TYPES])
    found = scored(names, rng.choice(4, size=30), labels, metadata).chance()
    assert found == pytest.approx(best)
    assert list(found) == list(constants[0])


@pytest.mark.parametrize("references", [[1, 1, 1, 1], [2, 1, 3, 1]])
def test_chance_of_recall_is_the_mean_over_all_orders(monkeypatch: pytest.MonkeyPatch, references: list[int]) -> None:
    monkeypatch.setattr(retrieval, "RANKS", (1, 2, 5))
    labels = np.array([0, 1, 1, 2])  # Two images of one label.
    of_texts = np.repeat(labels, references)
    expected = {}
    for side, queries, candidates in (("text", labels, of_texts), ("image", of_texts, labels)):
        orders = list(itertools.permutations(candidates))
        for k in (1, 2, 5):
            shares = [[query in order[:k] for order in orders] for query in queries]
            expected[f"{side}_recall@{k}"] = np.mean(shares)
    metric = Recall()
    features = np.ones((4, 1))
    texts = [["a text"] * count for count in references]
    metric.update({"image_features": features, "text_features": features}, {"label": labels, "references": texts})
    found = metric.chance()
    assert found.pop("recall") == pytest.approx(np.mean(list(expected.values())))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("name", ["recall", "judged_recall", "reranked_recall"])
def test_chance_has_the_names_of_the_scores(name: str) -> None:
    scores = Scores([name])
    assert scores.chance() == {name: None}  # Not a number before the first example.
    outputs = {key: np.ones((2, 1)) for key in ("image_features", "text_features", "image_gates")}
    outputs["image_tokens"] = np.ones((2, 1, 1))
    scores.update(outputs, {"label": np.arange(2), "references": [["a"], ["b"]]})
    prefix = name.removesuffix("recall")
    assert scores.chance()[f"{prefix}text_recall@1"] == 0.5
    assert scores.chance()[f"{prefix}image_recall@5"] == 1.0


def test_chance_of_vqa_accuracy_is_the_commonest_answer_of_people() -> None:
    people = [["yes"] * 10, ["yes"] * 2 + ["no"] * 8, ["2"] * 5 + ["3"] * 5, []]
    metadata = [{"human_answers": answers} for answers in people]

    def scores_of(answers: list[str]) -> Scores:
        scores = Scores(["vqa_accuracy"])
        scores.update({"answer": answers}, {"metadata": metadata})
        return scores

    assert scores_of(["no", "2", "3", "no"]).chance() == scores_of(["yes"] * 4).compute()
    assert Scores(["vqa_accuracy"]).chance() == {"vqa_accuracy": None}


def test_chance_of_captions_is_what_was_said_of_another_image(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycocoevalcap", reason="pycocoevalcap, the extra captions, is not installed")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    references = [["a red dog", "a dog"], ["a cat sits here"], ["a red cat sits"]]

    def scores_of(captions: list[str]) -> Scores:
        scores = Scores(["coco_captions"])
        scores.update({"caption": captions}, {"references": references})
        return scores

    found = scores_of(["x", "y", "z"]).chance()
    assert found == scores_of(["a cat sits here", "a red cat sits", "a red dog"]).compute()
    assert found["cider (words by rules)"]


def test_a_report_shows_chance_where_it_is_known() -> None:
    report: dict[str, Any] = {
        "dataset": "drawn",
        "split": "test",
        "examples": 10,
        "metrics": {"full": {"accuracy": 0.9, "own": 3.0}},
        "macs": {"full": {"mean": 1e6}},
    }
    before = format_report(report)
    assert "chance" not in before
    assert "no score" not in before
    secret = format_report(report | {"metrics": {"full": {"accuracy": None, "own": 3.0}}})
    assert "no score of accuracy: it counts no example of this split" in secret
    lines = format_report(report | {"chance": {"accuracy": 0.25}}).splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["full", "chance"],
        ["accuracy", "0.9000", "0.2500"],
        ["own", "3.0000"],
    ]
