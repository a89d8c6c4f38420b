"""Tokenizer and answers of a model: everything that serving needs of a data set."""

import dataclasses

from etils import epath
from tokenizers import Tokenizer, models

from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.text import TextEncoder, added_words
from smarttrim_jax.data.vocabularies import BERT_SPECIAL
from smarttrim_jax.errors import CheckpointError, DataError
from smarttrim_jax.small_files import read_json, read_whole, write_json, write_whole

TOKENIZER = "tokenizer.json"
ANSWERS = "answers.json"
RENEW = "run the same train command again, which writes it anew and trains nothing twice, or save the model again"


@dataclasses.dataclass(frozen=True)
class Language:
    """Tokenizer and answers that a task works with.

    Attributes:
        text: Tokenizer that encodes sentences.
        answer_names: Names of the classes, in the order of their numbers.
    """

    text: TextEncoder
    answer_names: tuple[str, ...]


def numbered_language(words: int, answers: int, text_length: int, start: str) -> Language:
    """Creates a synthetic vocabulary and synthetic answers, to compile a program of given sizes without data.

    Args:
        words: Number of entries of the vocabulary, the special ones included.
        answers: Number of classes.
        text_length: Tokens of every text.
        start: First token of texts; see `DataConfig.start`.

    Returns:
        Tokenizer and answers whose words and names are numbers.
    """
    known = words - len(BERT_SPECIAL) - len(added_words(start))
    entries = [*BERT_SPECIAL, *(str(number) for number in range(known))]
    tokenizer = Tokenizer(models.WordLevel({entry: i for i, entry in enumerate(entries)}, unk_token="[UNK]"))
    return Language(TextEncoder(tokenizer, text_length, start), tuple(str(number) for number in range(answers)))


def read_language(folder: epath.PathLike, config: DataConfig) -> Language:
    """Reads what `write_language` wrote.

    Args:
        folder: Folder of a run or a saved model, on a disk or in a bucket.
        config: Settings of the texts: their length and first token.

    Returns:
        Tokenizer and names of the answers.

    Raises:
        CheckpointError: A file is missing or damaged.
    """
    folder = epath.Path(folder)
    for name in (TOKENIZER, ANSWERS):
        if not (folder / name).exists():
            raise CheckpointError(f"'{folder}' lacks {name}; {RENEW}")
    names = read_json(folder / ANSWERS, RENEW).get("answers")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"'{folder / ANSWERS}' holds no list of names under \"answers\"; {RENEW}")
    if len(set(names)) < len(names):
        raise CheckpointError(f"'{folder / ANSWERS}' holds a name twice; {RENEW}")
    try:
        text = TextEncoder.from_json(read_whole(folder / TOKENIZER), config.text_length, config.start)
    except (OSError, DataError) as error:
        raise CheckpointError(f"'{folder / TOKENIZER}' cannot be read ({error}); {RENEW}") from None
    return Language(text, tuple(names))


def write_language(folder: epath.PathLike, language: Language) -> None:
    """Writes tokenizer and answers beside a model, so that it can be served without its data.

    Args:
        folder: Folder of a run or a saved model, on a disk or in a bucket.
        language: Tokenizer and names of the answers.

    Raises:
        OSError: The folder cannot be written.
    """
    write_whole(epath.Path(folder) / TOKENIZER, language.text.to_json())
    write_json(epath.Path(folder) / ANSWERS, {"answers": list(language.answer_names)})
