"""Cleaning of sentences before they are encoded, as the official BLIP does it; METER cleans nothing."""

import re
from typing import Literal

TextCleaning = Literal["none", "blip_question", "blip_caption"]

# What BLIP's `pre_question` and `pre_caption` (data/utils.py) take out. Commas, question marks and hyphens stay.
_REMOVED = re.compile(r'[.!"()*#:;~]')
_SEVERAL_SPACES = re.compile(r"\s{2,}")


def clean_text(text: str, how: TextCleaning, max_words: int = 0) -> tuple[str, bool]:
    """Cleans a sentence.

    Args:
        text: Sentence, without a prompt.
        how: "blip_question" writes small letters and deletes `. ! " ( ) * # : ; ~`; "blip_caption" replaces these by
            spaces, of which each run becomes one; "none" changes nothing.
        max_words: Number of words after which the text is cut; 0 never cuts. Of several spaces in a row, BLIP counts
            each as a word more; here they separate two words as one does.

    Returns:
        The cleaned text, and whether words were cut off. A text of which nothing would be left is not cleaned.
    """
    if how == "blip_question":
        cleaned = _REMOVED.sub("", text.lower()).rstrip(" ")
    elif how == "blip_caption":
        cleaned = _SEVERAL_SPACES.sub(" ", _REMOVED.sub(" ", text.lower())).rstrip("\n").strip(" ")
    else:
        cleaned = text
    cleaned = cleaned if cleaned.strip() else text
    words = cleaned.split()
    if max_words and len(words) > max_words:
        return " ".join(words[:max_words]), True
    return cleaned, False
