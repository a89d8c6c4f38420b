"""Scores of captions are those of coco-caption, whose package is an extra and whose tokenizer needs Java."""

import importlib.util
import math
import pathlib
import random
import shutil
import sys
from typing import Any

import pytest

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.metrics import Scores
from smarttrim_jax.metrics.caption_words import words_by_java, words_by_rules
from smarttrim_jax.metrics.captions import ARCHIVE, CocoCaptions

PACKAGE = importlib.util.find_spec("pycocoevalcap")
JAVA = shutil.which("java")
needs_package = pytest.mark.skipif(PACKAGE is None, reason="pycocoevalcap, the extra captions, is not installed")
needs_java = pytest.mark.skipif(PACKAGE is None or JAVA is None, reason="needs pycocoevalcap and a Java runtime")

BY_HAND = {
    "A man's dog doesn't run.": "a man 's dog does n't run",
    "  two -- or three \n people...": "two or three people",
    "a black-and-white cat, (happily) asleep!": "a black-and-white cat -lrb- happily -rrb- asleep",
    'the \u201cbig\u201d "red" \u2018bus\u2019 \u2013 it\u2019s $5': "the big red bus it 's $ 5",
    "at 10:30 a.m. 1,000 men, 3.5 women": "at 10:30 a.m. 1,000 men 3.5 women",
    "dog,cat:bird": "dog cat bird",
    "they'll say you're here; we've seen the dogs' café": "they 'll say you 're here we 've seen the dogs café",
    "!": "",
    "what?!": "what ?!",  # The official tokenizer leaves out single marks only.
    "": "",
}
WORDS = "an the dog dogs' man's isn't red black-and-white two 10:30 1,000 street (sign) café u.s. tv"


def texts(chance: random.Random, count: int) -> list[str]:
    """Random captions of few words, so that many have words in common."""
    return [
        " ".join(chance.choices(WORDS.split(), k=chance.randrange(1, 9))) + chance.choice(["", ".", " !", ", \n"])
        for _ in range(count)
    ]


def corpus(seed: int, images: int = 12) -> tuple[list[str], list[list[str]]]:
    chance = random.Random(seed)
    return [*texts(chance, images - 1), ""], [texts(chance, chance.randrange(1, 6)) for _ in range(images)]


def archive() -> pathlib.Path:
    assert PACKAGE is not None
    return pathlib.Path(next(iter(PACKAGE.submodule_search_locations or ()))) / ARCHIVE


@pytest.mark.parametrize("caption", BY_HAND)
def test_captions_are_divided_into_words_by_rules(caption: str) -> None:
    assert words_by_rules([caption]) == [BY_HAND[caption]]


@needs_java
def test_rules_and_both_ways_to_start_the_official_tokenizer_divide_captions_alike() -> None:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    captions = [*BY_HAND, *texts(random.Random(0), 200)]
    by_java = words_by_java(captions, str(JAVA), archive())
    official = PTBTokenizer().tokenize({0: [{"caption": " ".join(caption.split())} for caption in captions]})
    assert by_java == official[0]
    assert by_java == words_by_rules(captions)


@needs_java
def test_the_official_tokenizer_knows_more_than_the_rules() -> None:
    assert words_by_java(["mr. x cannot", "gonna"], str(JAVA), archive()) == ["mr. x can not", "gon na"]


def computed(monkeypatch: pytest.MonkeyPatch, java: str | None, ends: tuple[int, ...] = ()) -> dict[str, Any]:
    monkeypatch.setattr(shutil, "which", lambda name: java)
    monkeypatch.setattr(CocoCaptions, "_meteor", lambda *_: 0.25)
    scores = Scores(["coco_captions"])
    written, references = corpus(1)
    for start, end in zip((0, *ends), (*ends, None), strict=True):
        scores.update({"caption": written[start:end]}, {"references": references[start:end]})
    return scores.compute()


@needs_package
@pytest.mark.parametrize("java", [None, pytest.param(JAVA, marks=needs_java)])
def test_scores_equal_those_of_the_package(monkeypatch: pytest.MonkeyPatch, java: str | None) -> None:
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer
    from pycocoevalcap.cider.cider_scorer import CiderScorer
    from pycocoevalcap.rouge.rouge import Rouge

    found = computed(monkeypatch, java)
    bleu, cider, rouge = BleuScorer(n=4), CiderScorer(n=4, sigma=6.0), []
    for written, references in zip(*corpus(1), strict=True):
        (candidate,), right = words_by_rules([written]), words_by_rules(references)
        bleu += (candidate, right)
        cider += (candidate, right)
        rouge.append(Rouge().calc_score([candidate], right))
    expected = {"cider": cider.compute_score()[0]}
    expected |= {f"bleu_{n}": score for n, score in enumerate(bleu.compute_score(option="closest")[0], 1)}
    expected["rouge_l"] = sum(rouge) / len(rouge)
    ending = " (words by rules)" if java is None else ""
    expected = {f"{name}{ending}": score for name, score in expected.items()} | ({"meteor": 0.25} if java else {})
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0 < found[f"bleu_4{ending}"] < found[f"cider{ending}"] < 1


@needs_package
def test_scores_do_not_depend_on_how_captions_are_divided_into_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert computed(monkeypatch, None, (0, 5, 6)) == computed(monkeypatch, None)


@needs_package
def test_small_cases_have_the_scores_that_the_definitions_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    scores = Scores(["coco_captions"])
    scores.update({"caption": ["a red dog runs", "a cat"]}, {"references": [["a red dog runs"], ["a cat sits here"]]})
    found = {name.removesuffix(" (words by rules)"): score for name, score in scores.compute().items()}
    shorter = math.exp(1 - 8 / 6)  # Six words were written where the references have eight.
    assert found["bleu_1"] == pytest.approx(shorter, abs=1e-6)
    precision, recall = 1, 1 / 2
    second = (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)
    assert found["rouge_l"] == pytest.approx((1 + second) / 2)
    # "a" is in the references of both images and weighs nothing; of the second, "cat" is one of three rare words.
    similar = [1 / math.sqrt(3), 1 / math.sqrt(3), 0, 0]
    assert found["cider"] == pytest.approx((10 + 10 * math.exp(-(2**2) / (2 * 6**2)) * sum(similar) / 4) / 2)


@needs_package
def test_without_captions_there_is_no_score() -> None:
    scores = Scores(["coco_captions"])
    assert scores.needs == {"caption", "references"}
    assert scores.compute() == {"cider": None}


@needs_java
@pytest.mark.slow
def test_meteor_is_computed_by_the_package() -> None:
    scores = Scores(["coco_captions"])
    scores.update({"caption": ["a dog runs fast"] * 2}, {"references": [["a dog runs fast"], ["the cat", "a dog"]]})
    meteor = scores.compute()["meteor"]
    assert meteor is not None
    assert 0.3 < meteor < 1


def test_a_missing_package_is_one_sentence_before_the_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pycocoevalcap", "pycocoevalcap.bleu.bleu"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ConfigError, match=r'^the metric .* fails: pycocoevalcap .*; pip install "smarttrim_jax\[capt'
    ):
        Scores(["coco_captions"])


@needs_package
@pytest.mark.parametrize(
    "script", ["echo no runtime >&2; exit 1", "cat > /dev/null", "cat; echo more", "cat; exit 1"]
)
def test_a_java_that_fails_is_one_sentence_before_the_evaluation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, script: str
) -> None:
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\n{script}\n")
    java.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(java))
    with pytest.raises(ConfigError, match=r"the tokenizer of pycocoevalcap fails \('.*'\); mend '.*/java', or take"):
        Scores(["coco_captions"])
