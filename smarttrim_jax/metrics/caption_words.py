"""How captions are divided into words before they are scored."""

import pathlib
import re
import subprocess
from collections.abc import Sequence

from smarttrim_jax.errors import ConfigError, quoted

# What coco-caption's tokenizer leaves out; brackets are written "-LRB-" there, but arrive as "-lrb-" and stay.
LEFT_OUT = frozenset(['"', "''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
CONTRACTED = r"'(?:s|m|d|re|ve|ll)\b"
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_PLAIN_MARKS = str.maketrans("\u2018\u2019\u201c\u201d\u2013\u2014\u2026", "''``--.")
_BEFORE_CONTRACTED = re.compile(rf"(?<=\w)(?=n't\b|{CONTRACTED})")
_WORD = re.compile(rf"(?:[^\W\d]\.){{2,}}|{CONTRACTED}|\w+(?:[-/']\w+|(?<=\d)[.,:]\d+)*|[?!]+|[^\w\s]")


def words_by_rules(captions: Sequence[str]) -> list[str]:
    """Divides captions into words by the main rules of the Penn Treebank, without Java.

    In lower case, contractions are split ("do n't", "man 's"), numbers and hyphenated words stay whole, and
    punctuation is left out. `words_by_java` also knows abbreviations ("mr.") and spellings such as "gonna".

    Args:
        captions: Texts.

    Returns:
        Each caption as words with one space between them.
    """
    divided = []
    for caption in captions:
        spaced = _BEFORE_CONTRACTED.sub(" ", caption.lower().translate(_PLAIN_MARKS))
        words = (_BRACKETS.get(word, word) for word in _WORD.findall(spaced))
        divided.append(" ".join(word for word in words if word not in LEFT_OUT))
    return divided


def words_by_java(captions: Sequence[str], java: str, archive: pathlib.Path) -> list[str]:
    """Divides captions into words by Stanford's PTBTokenizer, as coco-caption does.

    Args:
        captions: Texts.
        java: Path of the Java runtime.
        archive: Stanford's `stanford-corenlp-3.4.1.jar`.

    Returns:
        Each caption as words with one space between them, without punctuation.

    Raises:
        ConfigError: The tokenizer fails.
    """
    # A line end of any kind inside a caption would shift all captions after it.
    lines = "".join(" ".join(caption.split()) + "\n" for caption in captions)
    command = [java, "-cp", str(archive), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    done = subprocess.run(command, input=lines.encode(errors="replace"), capture_output=True)
    divided = done.stdout.decode().split("\n")[:-1]
    if done.returncode or len(divided) != len(captions):
        said = done.stderr.decode(errors="replace").strip()
        raise ConfigError(
            f"the tokenizer of pycocoevalcap fails ({quoted(said)}); mend '{java}', or take Java off the PATH and "
            "captions are divided into words without it"
        )
    return [" ".join(word for word in line.split() if word not in LEFT_OUT) for line in divided]
