"""Reads vocabularies of unknown origin: tokenizer.json, vocab.txt, or vocab.json with merges.txt."""

import contextlib
import itertools
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from smarttrim_jax.errors import DataError, SmartTrimError, quoted, reason
from smarttrim_jax.small_files import read_whole

Reader = Callable[..., Tokenizer]

FILE_NAME = "tokenizer.json"
BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
ROBERTA_SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")

# Parts of BERT's and RoBERTa's vocabularies. Others accept patterns that can search for hours, or data on which
# the library aborts.
_ACCEPTED = {
    "model": ("WordPiece", "BPE", "WordLevel"),
    "normalizer": ("BertNormalizer", "Lowercase", "StripAccents", "NFC", "NFD", "NFKC", "NFKD"),
    "pre_tokenizer": ("BertPreTokenizer", "ByteLevel", "Whitespace", "WhitespaceSplit", "Punctuation"),
    "decoder": ("WordPiece", "ByteLevel"),
}
# Parts of a file that `TextEncoder` replaces.
_REPLACED = ("post_processor", "truncation", "padding")
_PROBE = "Is it a RED circle? \N{SLIGHTLY SMILING FACE}"


def read_vocabulary(path: pathlib.Path) -> Tokenizer:
    """Reads a vocabulary; no other file is read.

    Args:
        path: A `tokenizer.json`; a `vocab.txt` (BERT's uncased WordPiece); or a folder that holds one of these or the
            pair `vocab.json`, `merges.txt` (RoBERTa's byte-level BPE).

    Returns:
        The tokenizer.

    Raises:
        DataError: There is no vocabulary, or it is damaged: ids that repeat or have gaps, repeated lines, missing
            special tokens.
    """
    with _sentence(f"cannot read the tokenizer {quoted(path)}"):
        found = _reader(path.expanduser())
        if found is not None:
            read, files = found
            return read(*[read_whole(file) for file in files])
    accepted = ", ".join(" with ".join(names) for names in _READERS)
    raise DataError(
        f"no vocabulary at {quoted(path)}; give the path of {accepted}, or of a folder that holds them (nothing is "
        "fetched by a model's name)"
    )


def from_json(content: bytes) -> Tokenizer:
    """Reads a `tokenizer.json`.

    Args:
        content: Bytes of the file.

    Returns:
        The tokenizer, without post-processor, truncation and padding.

    Raises:
        DataError: The content is damaged, not a tokenizer, or made of parts that are not accepted.
    """
    with _sentence("it is no tokenizer"):
        tree = _json(content)
        if not isinstance(tree, dict):
            raise DataError("it holds no object")
        for part, accepted in _ACCEPTED.items():
            if not isinstance(tree.get(part), dict | None):
                raise DataError(f"its {part} is no object")
            if tree.get(part):
                _check_part(part, tree[part], accepted)
        tokenizer = Tokenizer.from_str(json.dumps(tree | dict.fromkeys(_REPLACED)))
        return _checked(tokenizer)


def wordpiece(vocabulary: Mapping[str, int]) -> Tokenizer:
    """Builds BERT's uncased tokenizer.

    Args:
        vocabulary: Id of each entry.

    Returns:
        The tokenizer.
    """
    tokenizer = Tokenizer(models.WordPiece(dict(vocabulary), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def special_tokens(tokenizer: Tokenizer) -> tuple[str, str, str, str]:
    """Finds the special tokens of a vocabulary.

    Args:
        tokenizer: Tokenizer with its vocabulary.

    Returns:
        The tokens for padding, unknown words, start and end.

    Raises:
        DataError: The vocabulary has neither BERT's nor RoBERTa's special tokens.
    """
    for tokens in (BERT_SPECIAL, ROBERTA_SPECIAL):
        if all(tokenizer.token_to_id(token) is not None for token in tokens):
            return tokens
    accepted = " or ".join(", ".join(tokens) for tokens in (BERT_SPECIAL, ROBERTA_SPECIAL))
    raise DataError(f"the vocabulary lacks the special tokens; it must hold {accepted}")


def _reader(path: pathlib.Path) -> tuple[Reader, list[pathlib.Path]] | None:
    """Function that reads the contents of the files at `path`, and these files; None if there are none."""
    folder = path if path.is_dir() else path.parent
    for names, read in _READERS.items():
        files = [folder / name for name in names]
        if all(file.exists() for file in files) and (path.is_dir() or path in files):
            return read, files
    if path.suffix in (".json", ".txt") and path.exists():
        return (_from_lines if path.suffix == ".txt" else from_json), [path]
    return None


def _from_lines(content: bytes) -> Tokenizer:
    """Reads BERT's vocab.txt: the id of an entry is the number of its line, from 0."""
    ids: dict[str, int] = {}
    for number, entry in enumerate(_lines(content)):
        if not entry:
            raise DataError(f"line {number + 1} of its vocabulary is empty; fetch it again")
        if entry in ids:
            raise DataError(f"line {number + 1} repeats {quoted(entry)} of line {ids[entry] + 1}; fetch it again")
        ids[entry] = number
    return _checked(wordpiece(ids))


def _from_pair(vocabulary: bytes, merges: bytes) -> Tokenizer:
    """Reads RoBERTa's vocab.json and merges.txt."""
    ids = _json(vocabulary)
    if not isinstance(ids, dict) or not all(type(number) is int for number in ids.values()):
        raise DataError("its vocab.json is no object of entries and their ids")
    _check_ids(ids)
    pairs: dict[tuple[str, str], int] = {}
    for number, line in enumerate(_lines(merges), 1):
        if number == 1 and line.startswith("#version"):
            continue
        left, _, right = line.partition(" ")
        if not (left in ids and right in ids and left + right in ids):
            raise DataError(f"line {number} of its merges.txt, {quoted(line)}, joins no two entries to a third")
        if (left, right) in pairs:
            raise DataError(f"line {number} of its merges.txt repeats line {pairs[left, right]}; fetch it again")
        pairs[left, right] = number
    tokenizer = Tokenizer(models.BPE(ids, list(pairs)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _checked(tokenizer)


_READERS: Mapping[tuple[str, ...], Reader] = {
    (FILE_NAME,): from_json,
    ("vocab.txt",): _from_lines,
    ("vocab.json", "merges.txt"): _from_pair,
}


def _lines(content: bytes) -> list[str]:
    """Splits content into lines without spaces at their ends; empty lines at the end are dropped."""
    lines = [line.rstrip(" \t\r") for line in content.decode("utf-8-sig").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _json(content: bytes) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Builds a dict; refuses repeated keys.

        Args:
            pairs: Keys and values of one JSON object.

        Returns:
            The dict.

        Raises:
            DataError: A key is there twice.
        """
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for number, name in enumerate(names) if name in set(names[:number]))
            raise DataError(f"{quoted(twice)} is in it twice; fetch it again")
        return found

    return json.loads(content.decode("utf-8-sig"), object_pairs_hook=unique)


def _check_part(part: str, tree: dict[str, Any], accepted: tuple[str, ...]) -> None:
    """Checks that a part is of the accepted types; sequences are checked element by element."""
    name = tree.get("type")
    if name == "Sequence" and part != "model":
        for inner in itertools.chain.from_iterable(value for value in tree.values() if isinstance(value, list)):
            if not isinstance(inner, dict) or inner.get("type") not in accepted:
                raise DataError(f"its {part} has a part that is none of {', '.join(accepted)}")
    elif name not in accepted and not (name is None and part == "model"):
        raise DataError(f"its {part} is {quoted(name)}; accepted are {', '.join(accepted)}")


def _checked(tokenizer: Tokenizer) -> Tokenizer:
    """Checks that a tokenizer can encode and decode, and returns it."""
    _check_ids(tokenizer.get_vocab())
    special_tokens(tokenizer)
    # Missing parts show only when the tokenizer is used.
    tokenizer.decode(tokenizer.encode(_PROBE).ids)
    return tokenizer


def _check_ids(vocabulary: Mapping[str, int]) -> None:
    """Checks that ids run from 0 without gaps, since each is a row of the model's embedding table."""
    entries: dict[int, str] = {}
    for entry, number in vocabulary.items():
        if number in entries:
            raise DataError(
                f"{quoted(entries[number])} and {quoted(entry)} have the same id, {number}; fetch it again"
            )
        entries[number] = entry
    missing = next((number for number in range(len(entries)) if number not in entries), None)
    if missing is not None:
        number = max(entries)
        raise DataError(
            f"no entry has the id {missing}, but {quoted(entries[number])} has {number}, "
            "and ids must be without gaps; fetch it again"
        )


@contextlib.contextmanager
def _sentence(beginning: str) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except SmartTrimError as error:
        raise DataError(f"{beginning}: {error}") from error
    except RecursionError:
        raise DataError(f"{beginning}: it is nested too deep") from None
    except BaseException as error:  # Panics inside the library are no subclass of Exception.
        raise DataError(f"{beginning}: {reason(error)}") from error
