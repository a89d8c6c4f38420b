"""BLIP's cleaning of sentences, and the exchange of sides."""

import dataclasses
import itertools
import random
import types
from typing import get_args

import numpy as np
import pytest

from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.data.examples import Examples
from smarttrim_jax.data.sentences import TextCleaning, clean_text, exchange_sides

CLEANINGS: tuple[TextCleaning, ...] = get_args(TextCleaning)
CHARACTERS = "aB \t.!\"()*#:;~,?'-/&\u00c9"


def random_texts(count: int) -> list[str]:
    chance = random.Random(0)
    return ["".join(chance.choices(CHARACTERS, k=chance.randrange(1, 25))) for _ in range(count)]


def test_a_question_loses_its_marks_and_a_caption_gets_spaces_for_them() -> None:
    text = 'A man\'s "cat-like" dog:  is it (really) RED, or #2?  '
    assert clean_text(text, "none") == (text, False)
    assert clean_text(text, "blip_question") == ("a man's cat-like dog  is it really red, or 2?", False)
    assert clean_text(text, "blip_caption") == ("a man's cat-like dog is it really red, or 2?", False)
    assert clean_text("a.b~c;d!e*f", "blip_question") == ("abcdef", False)
    assert clean_text("A.b~c;d!e*f.", "blip_caption") == ("a b c d e f", False)


def test_cleaning_follows_its_definition_letter_by_letter() -> None:
    removed = set('.!"()*#:;~')
    for text in random_texts(500):
        lower = text.lower()
        question = "".join(letter for letter in lower if letter not in removed).rstrip(" ")
        blanked = "".join(" " if letter in removed else letter for letter in lower)
        runs = ["".join(run) for _, run in itertools.groupby(blanked, str.isspace)]
        caption = "".join(" " if run.isspace() and len(run) > 1 else run for run in runs).strip(" ")
        for how, expected in (("blip_question", question), ("blip_caption", caption), ("none", text)):
            cleaned, cut = clean_text(text, how)
            assert cleaned == (expected if expected.strip() else text)
            assert not cut
            assert clean_text(cleaned, how)[0].split() == cleaned.split()


@pytest.mark.parametrize("how", CLEANINGS)
@pytest.mark.parametrize("text", ["...", " . ", '"!"'])
def test_a_text_of_marks_alone_is_not_cleaned_away(text: str, how: TextCleaning) -> None:
    assert clean_text(text, how) == (text, False)


@pytest.mark.parametrize("how", CLEANINGS)
def test_words_beyond_the_limit_are_cut_and_told(how: TextCleaning) -> None:
    for text in random_texts(200):
        whole, _ = clean_text(text, how)
        words = whole.split()
        for limit in (1, 2, 3):
            kept, cut = clean_text(text, how, limit)
            assert kept.split() == words[:limit]
            assert cut == (len(words) > limit)
            assert cut or kept == whole


def test_examples_are_cleaned_behind_their_prompt(dataset: Dataset, config: DataConfig) -> None:
    record = dataset.records("test")[0] | {"text": b"IS: shape 3 RED of 1"}
    stand_in = types.SimpleNamespace(
        records=lambda split: [record], text=dataset.text, most_answers=0, kind=dataset.kind
    )
    config = dataclasses.replace(config, text_length=20, text_cleaning="blip_question", max_words=3)
    for prompt, expected in (("", "is shape 3"), ("shape of", "shape of is shape 3")):
        ids = Examples(stand_in, "test", dataclasses.replace(config, prompt=prompt)).get(0)["text_ids"]
        np.testing.assert_array_equal(ids, dataset.text.encode(expected)[0])


def test_sides_are_exchanged_as_whole_words() -> None:
    text = "Left of the left-hand dog, right; leftover rights are bright. Right"
    assert exchange_sides(text) == "Right of the right-hand dog, left; leftover rights are bright. Left"
    assert exchange_sides(exchange_sides(text)) == text
