"""Sentences before they are encoded: the official BLIP's cleaning, and its exchange of left and right."""

import re
from typing import Literal

TextCleaning = Literal["none", "blip_question", "blip_caption"]

# What BLIP's `pre_question` and `pre_caption` (data/utils.py) take out. Commas, question marks and hyphens stay.
_REMOVED = re.compile(r'[.!"()*#:;~]')
_SEVERAL_SPACES = re.compile(r"\s{2,}")

_OTHER_SIDE = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
_SIDE = re.compile(rf"\b({'|'.join(_OTHER_SIDE)})\b")


def clean_text(text: str, how: TextCleaning, max_words: int = 0, prompt: str = "") -> tuple[str, bool]:
    """Cleans a sentence, and puts a prompt before it.

    Args:
        text: Sentence, without a prompt.
        how: "blip_question" writes small letters and deletes `. ! " ( ) * # : ; ~`; "blip_caption" replaces these by
            spaces, of which each run becomes one; "none" changes nothing.
        max_words: Number of words after which the text is cut; 0 never cuts. Of several spaces in a row, BLIP counts
            each as a word more; here they separate two words as one does.
        prompt: Words put before the cleaned text; "" for none.

    Returns:
        The text to encode, and whether words were cut off. A text of which nothing would be left is not cleaned.
    """
    if how == "blip_question":
        cleaned = _REMOVED.sub("", text.lower()).rstrip(" ")
    elif how == "blip_caption":
        cleaned = _SEVERAL_SPACES.sub(" ", _REMOVED.sub(" ", text.lower())).rstrip("\n").strip(" ")
    else:
        cleaned = text
    cleaned = cleaned if cleaned.strip() else text
    words = cleaned.split()
    is_cut = 0 < max_words < len(words)
    kept = " ".join(words[:max_words]) if is_cut else cleaned
    return (f"{prompt} {kept}" if prompt else kept), is_cut


def exchange_sides(text: str) -> str:
    """Exchanges the words "left" and "right" in a statement about two images, for when the images are swapped.

    BLIP (data/nlvr_dataset.py) leaves them where a comma or hyphen follows, so that the statement no longer fits.

    Args:
        text: Statement.

    Returns:
        The statement with each of the two words replaced by the other, capitals kept.
    """
    return _SIDE.sub(lambda match: _OTHER_SIDE[match[0]], text)
