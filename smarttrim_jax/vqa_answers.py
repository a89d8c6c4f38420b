"""Answers in the form in which the official VQA evaluation compares them.

The rules are those of `vqaEval.py` of the evaluation's authors (GT-Vision-Lab/VQA), its surprising ones included.
"""

import re

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
"""Characters that are left out, or replaced by a space. Apostrophes, colons and all others are kept."""
ARTICLES = ("a", "an", "the")
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DIGITS = {"none": "0"} | {word: str(number) for number, word in enumerate(NUMBER_WORDS)}
"""Words that are replaced by numbers."""
CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't
    he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've
    mustn't needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've
    somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've
    something'll that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas
    wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've
    who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd
    you'd've you'll you're you've
"""
"""Words that are recognised where one of their apostrophes is missing."""
_WITH_APOSTROPHES = {
    word[:place] + word[place + 1 :]: word
    for word in CONTRACTIONS.split()
    for place, character in enumerate(word)
    if character == "'"
} | {"somebody'd": "somebodyd"}  # The official table has this one the wrong way round.
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
# Official, the pattern also means to look at the digit before the full stop, but does not.
_FULL_STOP = re.compile(r"\.(?!\d)")


def stripped_answer(text: str) -> str:
    """Puts an answer on one line, without spaces at its ends, as the official evaluation reads it.

    Args:
        text: Answer of a person or a model.

    Returns:
        The answer with a space for every line end and tab, none at its ends.
    """
    return text.replace("\n", " ").replace("\t", " ").strip()


def normalized_answer(text: str) -> str:
    """Normalises an answer as the official VQA evaluation does before it compares.

    Punctuation is left out if it stands beside a space anywhere in the text, or if the text has a comma between two
    digits; otherwise each such character becomes a space. Full stops stay before digits only. Then, in lower case,
    the numbers up to ten become digits ("none" becomes 0), articles are left out, and apostrophes are put into
    contractions.

    METER's `normalize_word` (`meter/utils/glossary.py`) gives the same for every text without line ends, tabs and
    spaces at its ends, which it does not treat as spaces when it looks at punctuation.

    Args:
        text: Answer of a person or a model.

    Returns:
        The normalised answer: words with one space between them; "" if nothing is left.
    """
    spaced = stripped_answer(text)
    has_number = _COMMA_IN_NUMBER.search(spaced) is not None
    kept = spaced
    for character in PUNCTUATION:
        is_beside_space = f"{character} " in spaced or f" {character}" in spaced
        kept = kept.replace(character, "" if is_beside_space or has_number else " ")
    words = (DIGITS.get(word, word) for word in _FULL_STOP.sub("", kept).lower().split())
    return " ".join(_WITH_APOSTROPHES.get(word, word) for word in words if word not in ARTICLES)
