"""Recall of retrieval by a judge of pairs alone, for models that encode no text without an image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.metrics.retrieval import Retriever, chance_recalls, labels_of_texts, recalls, wrong_before


class JudgedRecall:
    """`judged_recall`: recall after every text of the split has been judged beside every image.

    This is the official evaluation of METER (`compute_irtr_recall` of `objectives.py`). The six numbers are those of
    `recall`, under names such as `judged_text_recall@5`.

    5,000,000 pairs are judged for Flickr30k, and 125,000,000 for COCO; `evaluation.examples` takes fewer images.
    Memory holds the tokens of all images: 1.8 MB an image of 384 px with METER base.
    """

    needs = ("references", "image_tokens", "image_gates")

    def __init__(self) -> None:
        self._labels: list[np.ndarray] = []
        self._references: list[list[str]] = []
        self._encoded: list[tuple[np.ndarray, np.ndarray]] = []
        self._ranks: dict[str, np.ndarray] | None = None

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Adds some images with their texts.

        Args:
            outputs: `image_tokens`, `[examples, tokens, width]`, and `image_gates`, `[examples, tokens]`.
            targets: `label`, `[examples]`, and `references`, for each example a list of the texts of its record.
        """
        self._references += targets["references"]
        self._labels.append(np.asarray(targets["label"]))
        self._encoded.append((outputs["image_tokens"], outputs["image_gates"]))

    def search(self, retriever: Retriever) -> None:
        """Judges all pairs.

        Args:
            retriever: The evaluated model.
        """
        if not self._references:
            return
        of_images = np.concatenate(self._labels)
        texts = [text for texts in self._references for text in texts]
        of_texts = labels_of_texts(of_images, self._references)
        scores = judge_all(retriever, self._encoded, texts)
        belongs = of_images[:, None] == of_texts
        self._ranks = {"text": wrong_before(scores, belongs), "image": wrong_before(scores.T, belongs.T)}

    def compute(self) -> dict[str, float]:
        """Returns the seven shares, their mean first; NaN alone before the first example.

        Raises:
            ConfigError: Nothing was searched.
        """
        if not self._references:
            return {"judged_recall": float("nan")}
        if self._ranks is None:
            raise ConfigError("pairs are judged in evaluations only, by a task that matches images and texts")
        return {f"judged_{name}": share for name, share in recalls(self._ranks).items()}

    def chance(self) -> dict[str, float]:
        """Returns the seven shares that candidates in a random order have on average."""
        return {f"judged_{name}": share for name, share in chance_recalls(self._labels, self._references).items()}


def judge_all(
    retriever: Retriever, encoded: Sequence[tuple[np.ndarray, np.ndarray]], texts: Sequence[str]
) -> np.ndarray:
    """Judges every text beside every image.

    Args:
        retriever: The model.
        encoded: Outputs `image_tokens` and `image_gates` of some images at a time; at least one image in all.
        texts: Texts, at least one.

    Returns:
        How well they fit, `[images, texts]`.
    """
    tokens, gates = (np.concatenate(parts) for parts in zip(*encoded, strict=True))
    pairs = np.divmod(np.arange(len(tokens) * len(texts)), len(texts))
    return retriever.match((tokens, gates), texts, *pairs).reshape(len(tokens), len(texts))
