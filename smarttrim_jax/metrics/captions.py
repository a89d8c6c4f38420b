"""The scores of written captions that coco-caption computes: CIDEr, BLEU, ROUGE-L and METEOR."""

import importlib
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from smarttrim_jax.errors import ConfigError, reason
from smarttrim_jax.metrics.caption_words import words_by_java, words_by_rules

Captions = dict[int, list[str]]
"""Captions by number of the image."""
ARCHIVE = "tokenizer/stanford-corenlp-3.4.1.jar"


class CocoCaptions:
    """`cider`, `bleu_1` to `bleu_4`, `rouge_l` and `meteor` of written captions, by the package pycocoevalcap.

    Images have any number of references. Where a Java runtime is found, captions are divided into words by the
    official tokenizer. Elsewhere rules of this library do, which give slightly other scores: those say so in their
    names, as `cider (words by rules)`, and `meteor`, which needs Java too, is left out. `meteor` is NaN where its
    process fails; it takes 2 GB of memory. SPICE, which downloads its models, is never computed. CIDEr is 0 for a
    single image, since words are weighted by how rare they are among images.

    Raises:
        ConfigError: The package is not installed, or its tokenizer fails.
    """

    needs = ("caption", "references")

    def __init__(self) -> None:
        self._bleu = _imported("bleu.bleu").Bleu(4)
        self._cider = _imported("cider.cider").Cider()
        self._rouge = _imported("rouge.rouge").Rouge()
        self._meteor_module = _imported("meteor.meteor")
        self._archive = pathlib.Path(self._meteor_module.__file__).parents[1] / ARCHIVE
        self._java = shutil.which("java")
        self._written: list[str] = []
        self._references: list[list[str]] = []
        self._divided(["one caption"])  # Fails before an evaluation, not at its end.

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Adds some examples.

        Args:
            outputs: `caption`, the written texts, `[examples]`.
            targets: `references`, for each example a list of the texts of its record.
        """
        self._written += outputs["caption"]
        self._references += targets["references"]

    def compute(self) -> dict[str, float]:
        """Returns the scores over all examples, CIDEr first; NaN as `cider` alone before the first example."""
        return self._scores(self._written)

    def chance(self) -> dict[str, float]:
        """Returns the scores of captions dealt out wrongly: each image gets the first reference of the next one."""
        first = [texts[0] for texts in self._references]
        return self._scores([*first[1:], *first[:1]])

    def _scores(self, captions: list[str]) -> dict[str, float]:
        if not captions:
            return {"cider": float("nan")}
        # CIDEr and BLEU are scores of all captions together, and the tokenizer takes a while to start.
        words = iter(self._divided([*captions, *(text for texts in self._references for text in texts)]))
        written: Captions = {image: [next(words)] for image in range(len(captions))}
        right: Captions = {image: [next(words) for _ in texts] for image, texts in enumerate(self._references)}
        bleus, _ = self._bleu.compute_score(right, written, verbose=0)
        scores = {"cider": self._cider.compute_score(right, written)[0]}
        scores |= {f"bleu_{length}": bleu for length, bleu in enumerate(bleus, 1)}
        scores["rouge_l"] = self._rouge.compute_score(right, written)[0]
        if self._java is None:
            return {f"{name} (words by rules)": float(score) for name, score in scores.items()}
        return {name: float(score) for name, score in scores.items()} | {"meteor": self._meteor(right, written)}

    def _divided(self, captions: list[str]) -> list[str]:
        if self._java is None:
            return words_by_rules(captions)
        return words_by_java(captions, self._java, self._archive)

    def _meteor(self, right: Captions, written: Captions) -> float:
        scorer = self._meteor_module.Meteor()
        with scorer.meteor_p.stdout, scorer.meteor_p.stderr:  # The package leaves these open.
            try:
                score, _ = scorer.compute_score(right, written)
            except (OSError, ValueError):  # It has ended, or does not answer with a number.
                return float("nan")
        return float(score)


def _imported(module: str) -> Any:
    """Imports a module of the package pycocoevalcap."""
    try:
        return importlib.import_module(f"pycocoevalcap.{module}")
    except ImportError as error:
        raise ConfigError(
            f'pycocoevalcap cannot be imported ({reason(error)}); pip install "smarttrim_jax[captions]"'
        ) from None
