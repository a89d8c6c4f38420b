"""Recall over all references of every record, and recall after candidates have been judged beside the query."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.metrics import Scores
from smarttrim_jax.metrics import retrieval as retrieval_module
from smarttrim_jax.metrics.reranking import RerankedRecall

FEATURES = 4


class Few(RerankedRecall):
    """Judges few candidates, so that many right ones are not among them."""

    candidates = 6


class Model:
    """Features by text, and logits by image and text, that are random but always the same."""

    def __init__(self, references: Sequence[Sequence[str]], seed: int):
        random = np.random.default_rng(seed)
        self.texts = [text for texts in references for text in texts]
        self.labels = np.repeat(np.arange(len(references)), [len(texts) for texts in references])
        self.images = random.normal(size=(len(references), FEATURES)).astype(np.float32)
        # Texts are near their image, so that recall is neither 0 nor 1.
        noise = random.normal(size=(len(self.texts), FEATURES)).astype(np.float32)
        self.features = self.images[self.labels] + 1.5 * noise
        belongs = np.arange(len(references))[:, None] == self.labels
        self.logits = (2 * belongs + random.normal(size=belongs.shape)).astype(np.float32)
        self.encoded = 0
        self.judged: list[tuple[int, int]] = []

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        self.encoded += len(texts)
        return self.features[[self.texts.index(text) for text in texts]]

    def match(self, images: Any, texts: Sequence[str], of_images: np.ndarray, of_texts: np.ndarray) -> np.ndarray:
        tokens, gates = images
        assert tokens.shape == (*gates.shape, 1)
        assert list(of_images) == sorted(of_images)
        numbers = tokens[of_images, 0, 0].astype(int)  # The only token of an image is its number.
        rows = [self.texts.index(texts[of_text]) for of_text in of_texts]
        self.judged += zip(numbers.tolist(), rows, strict=True)
        return self.logits[numbers, rows]

    def scored(self, name: str, references: Sequence[Sequence[str]], search: bool = True) -> dict[str, Any]:
        scores, count = Scores([name]), len(references)
        first = [texts[0] for texts in references]
        numbers = np.arange(count, dtype=np.float32)
        for part in (slice(0, 3), slice(3, 3), slice(3, count)):
            outputs = {
                "image_features": self.images[part],
                "text_features": self.encode_texts(first)[part],
                "image_tokens": numbers[part, None, None],
                "image_gates": np.ones((count, 1), np.float32)[part],
            }
            scores.update(outputs, {"label": np.arange(count)[part], "references": list(references[part])})
        if search:
            scores.search(self)
        return scores.compute()


def references(seed: int, images: int = 20, most: int = 4) -> list[list[str]]:
    random = np.random.default_rng(seed)
    return [[f"{image}-{text}" for text in range(random.integers(1, most + 1))] for image in range(images)]


def recalls(text_scores: np.ndarray, image_scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Recalls from scores `[images, texts]` for finding texts, and for finding images: by sorting, as BLIP does."""
    found = {}
    for k in (1, 5, 10):
        best = [labels[np.argsort(-row, kind="stable")[:k]] for row in text_scores]
        found[f"text_recall@{k}"] = float(np.mean([image in row for image, row in enumerate(best)]))
    for k in (1, 5, 10):
        best = [np.argsort(-column, kind="stable")[:k] for column in image_scores.T]
        found[f"image_recall@{k}"] = float(np.mean([label in row for label, row in zip(labels, best, strict=True)]))
    return {"recall": float(np.mean(list(found.values())))} | found


def test_recall_of_several_texts_by_hand() -> None:
    texts = [["a", "b"], ["c"]]
    model = Model(texts, 0)
    model.images = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32)
    model.features = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0.5, 0.6, 0, 0]], np.float32)
    computed = model.scored("recall", texts)
    assert computed["text_recall@1"] == 0.5  # "b" is found for its image; the other image finds "a" before "c".
    assert computed["image_recall@1"] == pytest.approx(2 / 3)
    assert computed["text_recall@5"] == computed["image_recall@5"] == 1


@pytest.mark.parametrize("at_once", [3, 1024])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_reference_is_a_text_of_its_own(monkeypatch: pytest.MonkeyPatch, seed: int, at_once: int) -> None:
    monkeypatch.setattr(retrieval_module, "AT_ONCE", at_once)
    texts = references(seed)
    model = Model(texts, seed)
    similarities = model.images @ model.features.T
    expected = recalls(similarities, similarities, model.labels)
    assert 0 < expected["image_recall@1"] < expected["image_recall@10"] < 1
    assert model.scored("recall", texts) == pytest.approx(expected)


def test_single_references_are_not_encoded_again() -> None:
    texts = references(3, most=1)
    model = Model(texts, 3)
    expected = model.scored("recall", texts, search=False)
    encoded = model.encoded
    assert model.scored("recall", texts) == expected
    assert model.encoded == 2 * encoded


@pytest.mark.parametrize("name", [f"{__name__}:Few", "reranked_recall"])
@pytest.mark.parametrize("most", [1, 4])
def test_candidates_are_ranked_by_logit_and_similarity(name: str, most: int) -> None:
    texts = references(4, most=most)
    model = Model(texts, 5)
    similarities = model.images @ model.features.T
    count = Few.candidates if name.endswith("Few") else RerankedRecall.candidates
    text_scores, image_scores = np.full((2, *similarities.shape), -100.0)
    for image, row in enumerate(similarities):
        best = np.argsort(-row)[:count]
        text_scores[image, best] = model.logits[image, best] + row[best]
    for text, column in enumerate(similarities.T):
        best = np.argsort(-column)[:count]
        image_scores[best, text] = model.logits[best, text] + column[best]
    # A right text that is no candidate comes last, not first among those that are none.
    for image, label in enumerate(model.labels):
        if image_scores[label, image] == -100:
            image_scores[label, image] = -200
    text_scores[np.where((text_scores == -100) & (np.arange(len(texts))[:, None] == model.labels))] = -200
    computed = model.scored(name, texts)
    expected = {f"reranked_{key}": value for key, value in recalls(text_scores, image_scores, model.labels).items()}
    assert computed == pytest.approx(expected)
    assert list(computed) == list(expected)
    assert 0.2 < expected["reranked_recall"] < 1
    assert len(model.judged) == len(set(model.judged)) == np.sum((text_scores > -100) | (image_scores > -100))


def test_without_a_search_there_is_no_reranked_recall() -> None:
    texts = references(6)
    with pytest.raises(ConfigError, match="candidates are judged in evaluations only"):
        Model(texts, 6).scored("reranked_recall", texts, search=False)


def test_without_examples_there_is_nothing_to_search() -> None:
    scores = Scores(["recall", "reranked_recall"])
    scores.search(Model(references(7), 7))
    assert scores.compute() == {"recall": None, "reranked_recall": None}
