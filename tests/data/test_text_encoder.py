"""Tokenizers: special tokens, length, mask, saving."""

import json
import pathlib

import numpy as np
import pytest

from smarttrim_jax.data.text import TextEncoder
from smarttrim_jax.errors import ConfigError, DataError

SENTENCES = ["is there a red circle?", "what color is the shape?", "is there a blue shape?"] * 2
BERT_VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "cir", "##cle", "?", "[", "]", "sep"]


@pytest.fixture
def bert(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(BERT_VOCABULARY) + "\n")
    return path


@pytest.fixture
def roberta(tmp_path: pathlib.Path) -> pathlib.Path:
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "r", "e", "d", "Ġ", "a", "re", "red", "Ġred"]
    (tmp_path / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nr e\nre d\nĠ red\n")
    return tmp_path


def test_bert_puts_cls_and_sep_round_the_text_and_pads_with_0(bert: pathlib.Path) -> None:
    text = TextEncoder.load(bert, 8)
    ids, mask = text.encode("A RED circle?")
    assert ids.tolist() == [2, 4, 5, 6, 7, 8, 3, 0]
    assert mask.tolist() == [1, 1, 1, 1, 1, 1, 1, 0]
    assert ids.dtype == mask.dtype == np.int32
    assert (text.pad_id, text.vocab_size) == (0, len(BERT_VOCABULARY))


def test_roberta_merges_bytes_and_pads_with_1(roberta: pathlib.Path) -> None:
    text = TextEncoder.load(roberta, 6)
    ids, mask = text.encode("red red")
    assert ids.tolist() == [0, 10, 11, 2, 1, 1]
    assert mask.tolist() == [1, 1, 1, 1, 0, 0]
    assert (text.pad_id, text.vocab_size) == (1, 12)
    assert text.tokens(ids[1:3]) == ["red", " red"]


@pytest.mark.parametrize("length", [3, 4, 5])
def test_truncation_keeps_the_end_token(bert: pathlib.Path, length: int) -> None:
    ids, mask = TextEncoder.load(bert, length).encode("a red circle a red circle")
    assert len(ids) == length
    assert (ids[0], ids[-1]) == (2, 3)
    assert mask.all()


def test_a_user_cannot_write_special_tokens(bert: pathlib.Path) -> None:
    text = TextEncoder.load(bert, 12)
    ids, mask = text.encode("a [SEP] [PAD] a")
    assert text.tokens(ids[:5]) == ["[CLS]", "a", "[", "sep", "]"]
    assert (ids == 3).sum() == 1
    assert mask.tolist() == (ids != 0).astype(int).tolist()


def test_unknown_words_become_the_unknown_token(bert: pathlib.Path) -> None:
    assert TextEncoder.load(bert, 4).encode("zebra")[0].tolist() == [2, 1, 3, 0]


def test_training_learns_the_words_and_repeats_itself(tmp_path: pathlib.Path) -> None:
    text = TextEncoder.train(SENTENCES, 10)
    ids, _ = text.encode("Is there a RED shape?")
    assert text.tokens(ids) == ["[CLS]", "is", "there", "a", "red", "shape", "?", "[SEP]", "[PAD]", "[PAD]"]
    assert text.pad_id == 0
    text.save(tmp_path / "one.json")
    TextEncoder.train(reversed(SENTENCES), 10).save(tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


@pytest.mark.parametrize("kind", ["trained", "bert", "roberta"])
def test_saved_and_loaded_again_it_encodes_the_same(
    kind: str, tmp_path: pathlib.Path, bert: pathlib.Path, roberta: pathlib.Path
) -> None:
    loads = {
        "trained": lambda: TextEncoder.train(SENTENCES, 9),
        "bert": lambda: TextEncoder.load(bert, 9),
        "roberta": lambda: TextEncoder.load(roberta / "merges.txt", 9),
    }
    text = loads[kind]()
    folder = tmp_path / "saved"
    folder.mkdir()
    text.save(folder / "tokenizer.json")
    again = TextEncoder.load(folder, 7)
    assert (again.text_length, again.pad_id, again.vocab_size) == (7, text.pad_id, text.vocab_size)
    for sentence in ("a red", "red red"):
        np.testing.assert_array_equal(again.encode(sentence)[0], text.encode(sentence)[0][:7])
    assert [path.name for path in folder.iterdir()] == ["tokenizer.json"]  # nothing half-written is left


@pytest.mark.parametrize("empty", ["", "  ", "\n\t"])
def test_an_empty_text_is_an_error(bert: pathlib.Path, empty: str) -> None:
    with pytest.raises(DataError, match="empty"):
        TextEncoder.load(bert, 8).encode(empty)


def test_a_missing_vocabulary_is_an_error_that_names_it(roberta: pathlib.Path) -> None:
    with pytest.raises(DataError, match=r"no vocabulary at '.*nowhere'"):
        TextEncoder.load(roberta / "nowhere", 8)
    (roberta / "merges.txt").unlink()
    with pytest.raises(DataError, match=r"vocab\.json with merges\.txt"):
        TextEncoder.load(roberta, 8)


def test_a_damaged_vocabulary_is_an_error(tmp_path: pathlib.Path, bert: pathlib.Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"version": ')
    with pytest.raises(DataError, match="cannot read the tokenizer"):
        TextEncoder.load(tmp_path / "tokenizer.json", 8)
    bert.write_text("a\nred\n")
    with pytest.raises(DataError, match="lacks the special tokens"):
        TextEncoder.load(bert, 8)


def test_a_length_without_room_for_a_token_is_an_error(bert: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="text_length is 2"):
        TextEncoder.load(bert, 2)
