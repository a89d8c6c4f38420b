"""Sentences to token ids and back: BERT's WordPiece, RoBERTa's byte-level BPE, or a vocabulary of our own."""

import collections
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer, decoders, models, processors

from smarttrim_jax.data.vocabularies import BERT_SPECIAL, from_json, read_vocabulary, special_tokens, wordpiece
from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.small_files import write_whole

# A rarer word is spelled by its letters: its own embedding would hardly be trained.
SENTENCES_OF_A_WORD = 2

# BLIP's first tokens of texts that are decoded, and of those that are encoded beside an image, in its order.
BLIP_STARTS = ("[DEC]", "[ENC]")


class TextEncoder:
    """A tokenizer with a fixed length: `encode` pads, or truncates and keeps the end token.

    Attributes:
        text_length: tokens of every encoded text, the start and end token included.
        pad_id: the id that fills the end of short texts.
        own_start_id: of the vocabulary's own first token ([CLS] or <s>).
        end_id: of the last token.
    """

    def __init__(self, tokenizer: Tokenizer, text_length: int, first: str = "") -> None:
        """Takes over `tokenizer`, whose special tokens are BERT's ([PAD] ...) or RoBERTa's (<pad> ...).

        Args:
            tokenizer: with its vocabulary.
            text_length: tokens of every encoded text.
            first: one of `BLIP_STARTS`, to begin every text with; the vocabulary grows by both.
        """
        if text_length < 3:
            raise ConfigError(f"text_length is {text_length}; it must be at least 3 (start, a token, end)")
        special = special_tokens(tokenizer)
        pad, _, start, end = special
        tokenizer.add_special_tokens([*special, *(BLIP_STARTS if first else ())])
        ids = tokenizer.get_vocab()
        first = first or start
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {end}", special_tokens=[(first, ids[first]), (end, ids[end])]
        )
        # A user who writes "[SEP]" gets it spelled out, not the token.
        tokenizer.encode_special_tokens = True
        self.text_length = text_length
        self.pad_id, self.own_start_id, self.end_id = ids[pad], ids[start], ids[end]
        self._special = {ids[token] for token in (pad, start, end, first)}
        tokenizer.enable_truncation(text_length)
        tokenizer.enable_padding(length=text_length, pad_id=self.pad_id, pad_token=pad)
        self._tokenizer = tokenizer

    @property
    def vocab_size(self) -> int:
        """Entries of the vocabulary, the special tokens included."""
        return self._tokenizer.get_vocab_size()

    def vocabulary(self) -> list[tuple[str, int]]:
        """The entries and their ids, in the order of the ids."""
        return sorted(self._tokenizer.get_vocab().items(), key=lambda entry: entry[1])

    def encode(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The ids and the mask of a text.

        Returns:
            ids [text_length] int32, and mask [text_length] int32: 1 for a token, 0 for padding.

        Raises:
            DataError: It is empty, or no text.
        """
        ids, mask, _ = self.encode_noting_cut(text)
        return ids, mask

    def encode_noting_cut(self, text: str) -> tuple[np.ndarray, np.ndarray, bool]:
        """What `encode` gives, and whether the text has more tokens than that, so that its end is not read.

        Raises:
            DataError: It is empty, or no text.
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
        """The id of an entry of the vocabulary.

        Raises:
            DataError: there is none.
        """
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise DataError(
                f"the vocabulary has no '{token}'; where texts begin with data.start it has [DEC] and [ENC]"
            )
        return found

    def written(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of ids, without special tokens."""
        tokens = [self._tokenizer.id_to_token(int(i)) or "" for i in ids if int(i) not in self._special]
        decoder = self._tokenizer.decoder or decoders.WordPiece()
        return decoder.decode(tokens)

    def tokens(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """The written form of each id, in order, for pictures and logs."""
        return [self._tokenizer.decode([int(i)], skip_special_tokens=False) for i in ids]

    def to_json(self) -> str:
        """The tokenizer as `from_json` reads it."""
        return self._tokenizer.to_str(pretty=True)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the tokenizer as one JSON file, whole or not at all; `load` reads it."""
        write_whole(path, self.to_json())

    @classmethod
    def from_json(cls, content: bytes, text_length: int, first: str = "") -> "TextEncoder":
        """Reads what `to_json` gave.

        Args:
            content: A `tokenizer.json`.
            text_length: Tokens of every encoded text.
            first: What texts begin with; see `__init__`.

        Raises:
            DataError: It is damaged, or no tokenizer.
        """
        return cls(from_json(content), text_length, first)

    @classmethod
    def load(cls, path: str | os.PathLike[str], text_length: int, first: str = "") -> "TextEncoder":
        """Reads a tokenizer.

        Args:
            path: a `tokenizer.json`; a `vocab.txt` (BERT's uncased WordPiece); or a folder that holds one of
                these or the pair `vocab.json`, `merges.txt` (RoBERTa's byte-level BPE).
            text_length: tokens of every encoded text.
            first: what texts begin with; see `__init__`.

        Raises:
            DataError: no vocabulary there, or one that cannot be read.
        """
        return cls(read_vocabulary(pathlib.Path(path)), text_length, first)

    @classmethod
    def train(cls, sentences: Iterable[str], text_length: int) -> "TextEncoder":
        """Makes a lower-casing WordPiece vocabulary: the sentences' words, and letters to spell others.

        The same sentences in any order give the same vocabulary; the library's own trainer breaks ties by
        chance.

        Args:
            sentences: those of the training examples.
            text_length: tokens of every encoded text.
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
