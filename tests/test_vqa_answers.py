"""Answers are normalised as the official VQA evaluation does."""

import random
import re
import string

import pytest

from smarttrim_jax.vqa_answers import ARTICLES, CONTRACTIONS, DIGITS, PUNCTUATION, normalized_answer

BY_HAND = {
    "Yes": "yes",
    " a  red\tcar\n": "red car",
    "None of the two": "0 of 2",
    "ten": "10",
    "eleven": "eleven",
    "The": "",
    "dont": "don't",
    "youd've": "you'd've",
    "you'dve": "you'd've",
    "youdve": "youdve",  # Only one apostrophe is put in.
    "ow's'at": "'ow's'at",
    "somebody'd": "somebodyd",
    "lets": "lets",
    "hot-dog": "hot dog",
    "hot-dog -x": "hotdog x",
    "black/white": "black white",
    "black/white, red": "black white red",
    "1,000": "1000",
    "1,000/2": "10002",
    "7, 8": "7 8",
    "u.s.": "us",
    "3.5 ft.": "3.5 ft",
    ".5": ".5",
    "12:30": "12:30",
    "$5": "$5",
    "why?": "why",
}


@pytest.mark.parametrize("answer", BY_HAND)
def test_an_answer_is_normalised_by_the_official_rules(answer: str) -> None:
    assert normalized_answer(answer) == BY_HAND[answer]


def step_by_step(text: str) -> str:
    """The rules once more, character by character and word by word."""
    text = "".join(" " if character in "\n\t" else character for character in text).strip()
    left_out = {
        character
        for character in PUNCTUATION
        if re.search(r"[0-9],[0-9]", text) or f"{character} " in text or f" {character}" in text
    }
    kept = ""
    for place, character in enumerate(text):
        if character == "." and not text[place + 1 :].lstrip("".join(left_out))[:1].isdigit():
            continue
        kept += "" if character in left_out else " " if character in PUNCTUATION else character
    words = []
    for word in kept.lower().split():
        number = DIGITS.get(word, word)
        if number in ARTICLES:
            continue
        for whole in CONTRACTIONS.split():
            parts = whole.split("'")
            if number in ["'".join(parts[:i]) + "'".join(parts[i:]) for i in range(1, len(parts))]:
                number = whole
                break
        words.append(number)
    return " ".join(words)


def test_random_texts_are_normalised_as_the_rules_say() -> None:
    chance = random.Random(0)
    words = [word.replace("'", "", 1) for word in CONTRACTIONS.split()]
    words += [*ARTICLES, *DIGITS, "Red", "1,000", "2.5", "a.", "x"]
    between = [*string.punctuation, " ", " ", "  ", "\n", "\t", ", ", " -"]
    for _ in range(3000):
        text = "".join(chance.choice(words) + chance.choice(between) for _ in range(chance.randrange(5)))
        assert normalized_answer(text) == step_by_step(text), repr(text)
