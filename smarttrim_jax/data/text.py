"""Sentences to token ids and back: BERT's WordPiece, RoBERTa's byte-level BPE, or a vocabulary of the data's own."""

import collections
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer, decoders, models, processors

from smarttrim_jax.data.vocabularies import BERT_SPECIAL, from_json, read_vocabulary, special_tokens, wordpiece
from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.small_files import write_whole

# Rarer words are spelled by letters, since an embedding of their own would hardly be trained.
SENTENCES_OF_A_WORD = 2

# BLIP's first tokens: of texts that are decoded, and of texts that are encoded together with an image.
BLIP_STARTS = ("[DEC]", "[ENC]")


def added_words(first: str) -> tuple[str, ...]:
    """Names the words that a vocabulary gets so that texts can begin with a token.

    Args:
        first: First token of every text; "" for the vocabulary's own.

    Returns:
        The token, or both of BLIP's if it is one of them, in the order of their ids.
    """
    if first in BLIP_STARTS:
        return BLIP_STARTS
    return (first,) if first else ()


class TextEncoder:
    """A tokenizer with a fixed length: `encode` pads short texts, and truncates long ones but keeps the end token.

    Attributes:
        text_length: Tokens of every encoded text, the start and end token included.
        pad_id: Id that fills the end of short texts.
        own_start_id: Id of the vocabulary's own first token ([CLS] or <s>).
        end_id: Id of the last token.
    """

    def __init__(self, tokenizer: Tokenizer, text_length: int, first: str = "") -> None:
        """Takes over and modifies a tokenizer with BERT's special tokens ([PAD] ...) or RoBERTa's (<pad> ...).

        Args:
            tokenizer: Tokenizer with its vocabulary.
            text_length: Tokens of every encoded text.
            first: First token of every text, which is added to the vocabulary (see `added_words`); "" for the
                vocabulary's own first token.

        Raises:
            ConfigError: `text_length` is below 3.
            DataError: The vocabulary lacks special tokens.
        """
        if text_length < 3:
            raise ConfigError(f"text_length is {text_length}; it must be at least 3 (start, a token, end)")
        special = special_tokens(tokenizer)
        pad, _, start, end = special
        tokenizer.add_special_tokens([*special, *added_words(first)])
        ids = tokenizer.get_vocab()
        first = first or start
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {end}", special_tokens=[(first, ids[first]), (end, ids[end])]
        )
        # If a user writes "[SEP]", it is spelled out and does not become the special token.
        tokenizer.encode_special_tokens = True
        self.text_length = text_length
        self.pad_id, self.own_start_id, self.end_id = ids[pad], ids[start], ids[end]
        self._special = {ids[token] for token in (pad, start, end, first)}
        tokenizer.enable_truncation(text_length)
        tokenizer.enable_padding(length=text_length, pad_id=self.pad_id, pad_token=pad)
        self._tokenizer = tokenizer

    @property
    def vocab_size(self) -> int:
        """Number of entries of the vocabulary, the special tokens included."""
        return self._tokenizer.get_vocab_size()

    def vocabulary(self) -> list[tuple[str, int]]:
        """Lists the entries and their ids, in the order of the ids."""
        return sorted(self._tokenizer.get_vocab().items(), key=lambda entry: entry[1])

    def encode(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Encodes a text.

        Args:
            text: Sentence or question.

        Returns:
            Token ids int32 `[text_length]`, and mask int32 `[text_length]`: 1 for a token, 0 for padding.

        Raises:
            DataError: The text is empty, or not a string of valid characters.
        """
        ids, mask, _ = self.encode_noting_cut(text)
        return ids, mask

    def encode_noting_cut(self, text: str) -> tuple[np.ndarray, np.ndarray, bool]:
        """Encodes a text and tells whether its end was cut off.

        Args:
            text: Sentence or question.

        Returns:
            Token ids int32 `[text_length]`, mask int32 `[text_length]`, and whether the text has more tokens than
            that.

        Raises:
            DataError: The text is empty, or not a string of valid characters.
        """
        if not isinstance(text, str):
            raise DataError(f"the text is of type {type(text).__name__}; give a question or a sentence")
        if not text.strip():
            raise DataError("the text is empty; give a question or a sentence")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise DataError("the text holds half of a surrogate pair, which is no character; remove it")
        encoding = self._tokenizer.encode(text)
        ids, mask = np.array(encoding.ids, np.int32), np.array(encoding.attention_mask, np.int32)
        return ids, mask, bool(encoding.overflowing)

    def id_of(self, token: str) -> int:
        """Looks up the id of an entry of the vocabulary.

        Args:
            token: Entry, for example "[DEC]".

        Returns:
            Its id.

        Raises:
            DataError: The vocabulary has no such entry.
        """
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise DataError(
                f"the vocabulary has no '{token}'; where data.start is one of {', '.join(BLIP_STARTS)} it has both"
            )
        return found

    def written(self, ids: Sequence[int] | np.ndarray) -> str:
        """Decodes token ids to a text, without special tokens.

        Args:
            ids: Token ids of one text, `[tokens]`.

        Returns:
            The text.
        """
        tokens = [self._tokenizer.id_to_token(int(i)) or "" for i in ids if int(i) not in self._special]
        decoder = self._tokenizer.decoder or decoders.WordPiece()
        return decoder.decode(tokens)

    def tokens(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """Decodes each token id on its own, for pictures and logs.

        Args:
            ids: Token ids of one text, `[tokens]`.

        Returns:
            Written form of each token, special ones included, in order.
        """
        return [self._tokenizer.decode([int(i)], skip_special_tokens=False) for i in ids]

    def to_json(self) -> str:
        """Converts the tokenizer to JSON, which `from_json` reads."""
        return self._tokenizer.to_str(pretty=True)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the tokenizer as one JSON file, completely or not at all; `load` reads it.

        Args:
            path: File to write.

        Raises:
            OSError: The file cannot be written.
        """
        write_whole(path, self.to_json())

    @classmethod
    def from_json(cls, content: bytes, text_length: int, first: str = "") -> "TextEncoder":
        """Reads a tokenizer from the result of `to_json`.

        Args:
            content: Bytes of a `tokenizer.json`.
            text_length: Tokens of every encoded text.
            first: First token of every text; see `__init__`.

        Returns:
            The tokenizer.

        Raises:
            DataError: The content is damaged, or not a tokenizer.
        """
        return cls(from_json(content), text_length, first)

    @classmethod
    def load(cls, path: str | os.PathLike[str], text_length: int, first: str = "") -> "TextEncoder":
        """Reads a tokenizer from files.

        Args:
            path: A `tokenizer.json`; a `vocab.txt` (BERT's uncased WordPiece); or a folder that holds one of these or
                the pair `vocab.json`, `merges.txt` (RoBERTa's byte-level BPE).
            text_length: Tokens of every encoded text.
            first: First token of every text; see `__init__`.

        Returns:
            The tokenizer.

        Raises:
            DataError: There is no vocabulary, or it cannot be read.
        """
        return cls(read_vocabulary(pathlib.Path(path)), text_length, first)

    @classmethod
    def train(cls, sentences: Iterable[str], text_length: int) -> "TextEncoder":
        """Builds a lower-casing WordPiece vocabulary of the sentences' words, and of letters to spell other words.

        The same sentences in any order give the same vocabulary, unlike the trainer of the library `tokenizers`,
        which breaks ties at random.

        Args:
            sentences: Sentences of the training examples.
            text_length: Tokens of every encoded text.

        Returns:
            The tokenizer.
        """
        tokenizer = wordpiece({})
        words: collections.Counter[str] = collections.Counter()
        for sentence in sentences:
            text = tokenizer.normalizer.normalize_str(sentence)
            words.update({word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)})
        letters = sorted(set("".join(words)))
        known = sorted(word for word, count in words.items() if count >= SENTENCES_OF_A_WORD)
        entries = dict.fromkeys([*BERT_SPECIAL, *letters, *(f"##{letter}" for letter in letters), *known])
        tokenizer.model = models.WordPiece({entry: i for i, entry in enumerate(entries)}, unk_token="[UNK]")
        return cls(tokenizer, text_length)
