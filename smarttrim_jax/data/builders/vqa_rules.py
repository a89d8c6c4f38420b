"""Which answers of VQA v2 count, and how much: as METER and BLIP are fine-tuned."""

import collections
import functools
from collections.abc import Collection, Iterable, Sequence

from smarttrim_jax.vqa_answers import normalized_answer, stripped_answer

FEWEST = 9
"""An answer is one of METER's if it is the commonest one of so many questions."""
SCORES = (0.3, 0.6, 0.9, 1.0)
"""Score of an answer that 1, 2, 3, and 4 or more people gave."""
EMPTY = "a"
"""Name of the answer whose normal form is empty: the letter, which is taken for an article. It is one of METER's."""
VISUAL_GENOME_WEIGHT = 0.2
"""Weight of an answer of Visual Genome in BLIP's training."""


def frequent_answers(commonest: Iterable[str]) -> list[str]:
    """Lists the answers that METER chooses from (`write_vqa.py`).

    Args:
        commonest: The commonest answer to each question of train, then of val, in the order of their annotations.

    Returns:
        Normal forms that occur at least `FEWEST` times, in the order of their first occurrence: 3,129 in VQA v2, of
        which one is empty.
    """
    normal = functools.lru_cache(maxsize=None)(normalized_answer)
    counts = collections.Counter(map(normal, commonest))
    return [answer for answer, count in counts.items() if count >= FEWEST]


def soft_scores(given: Sequence[str], known: Collection[str]) -> dict[str, float]:
    """Scores the answers to a question as METER does (`write_vqa.py`).

    They are looked up as people gave them, although the known ones are normal forms.

    Args:
        given: Answers of several people.
        known: Answers that METER chooses from.

    Returns:
        Score of each known answer by its name, in the order of the people; empty if none is known.
    """
    counts = collections.Counter(answer for answer in given if answer in known)
    return {named(answer): SCORES[min(count, len(SCORES)) - 1] for answer, count in counts.items()}


def shares(given: Sequence[str]) -> dict[str, float]:
    """Weighs the answers to a question as BLIP does (`vqa_dataset.py`).

    Args:
        given: Answers of several people.

    Returns:
        Share of the people who gave each answer, by the answer without spaces around it; blank ones are left out.
    """
    counts = collections.Counter(map(stripped_answer, given))
    return {answer: count / len(given) for answer, count in counts.items() if answer}


def named(answer: str) -> str:
    """Names a normal form.

    Args:
        answer: The normal form.

    Returns:
        The same; `EMPTY` for an empty one, since an answer needs a name.
    """
    return answer or EMPTY
