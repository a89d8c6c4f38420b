"""Words and answers of given sizes where no data is: for compiling a program before there is any."""

import dataclasses

from tokenizers import Tokenizer, models

from smarttrim_jax.data.config import Start
from smarttrim_jax.data.text import BERT_SPECIAL, BLIP_STARTS, TextEncoder


@dataclasses.dataclass(frozen=True)
class StandIn:
    """What a task asks of a data set.

    Attributes:
        text: encodes sentences.
        answer_names: the classes.
    """

    text: TextEncoder
    answer_names: tuple[str, ...]


def stand_in(words: int, answers: int, text_length: int, start: Start) -> StandIn:
    """A vocabulary of numbered words, and numbered answers.

    Args:
        words: entries of the vocabulary, the special ones included.
        answers: how many.
        text_length: tokens of every text.
        start: what texts begin with.
    """
    known = words - len(BERT_SPECIAL) - (len(BLIP_STARTS) if start else 0)
    entries = [*BERT_SPECIAL, *(str(number) for number in range(known))]
    tokenizer = Tokenizer(models.WordLevel({entry: i for i, entry in enumerate(entries)}, unk_token="[UNK]"))
    return StandIn(TextEncoder(tokenizer, text_length, start), tuple(str(number) for number in range(answers)))
