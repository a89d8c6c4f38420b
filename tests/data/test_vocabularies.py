"""Vocabularies are read whole or refused in one sentence; their ids are rows of a table."""

import copy
import json
import os
import pathlib
import random
import sys
from collections.abc import Callable
from typing import Any

import pytest

from smarttrim_jax.data.text import TextEncoder
from smarttrim_jax.errors import DataError

BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "cir", "##cle"]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "r", "e", "d", "re", "red"]
MERGES = "#version: 0.2\nr e\nre d\n"
MARK = b"\xef\xbb\xbf"


def bert(folder: pathlib.Path, lines: list[str], end: str = "\n") -> pathlib.Path:
    (folder / "vocab.txt").write_bytes("".join(line + end for line in lines).encode())
    return folder / "vocab.txt"


def roberta(folder: pathlib.Path, vocabulary: str = "", merges: str = MERGES) -> pathlib.Path:
    ids = json.dumps({token: i for i, token in enumerate(ROBERTA)})
    (folder / "vocab.json").write_text(vocabulary or ids)
    (folder / "merges.txt").write_text(merges)
    return folder


def trained() -> dict[str, Any]:
    return json.loads(TextEncoder.train(["is there a red circle?", "what color?"] * 2, 10).to_json())


def test_a_mark_and_ends_of_lines_are_no_part_of_an_entry(tmp_path: pathlib.Path) -> None:
    expected = TextEncoder.load(bert(tmp_path, BERT), 8).encode("a RED circle")[0].tolist()
    assert expected == [2, 4, 5, 6, 7, 3, 0, 0]
    for end in ("\n", "\r\n", " \n"):
        path = bert(tmp_path, BERT, end)
        path.write_bytes(MARK + path.read_bytes() + b"\n\n")
        assert TextEncoder.load(path, 8).encode("a RED circle")[0].tolist() == expected


def test_marks_are_read_in_every_file(tmp_path: pathlib.Path) -> None:
    expected = TextEncoder.load(roberta(tmp_path), 6).encode("red")[0].tolist()
    assert expected == [0, 8, 2, 1, 1, 1]
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes(MARK + (tmp_path / name).read_bytes())
    assert TextEncoder.load(tmp_path, 6).encode("red")[0].tolist() == expected
    (tmp_path / "tokenizer.json").write_bytes(MARK + json.dumps(trained()).encode())
    assert TextEncoder.load(tmp_path, 6).encode("red")[0].tolist()[0] == 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*BERT[:6], "red", *BERT[6:]], "line 7 repeats 'red' of line 6"),
        ([*BERT[:6], "", *BERT[6:]], "line 7 of its vocabulary is empty"),
        (BERT[1:], "lacks the special tokens"),
        ([], "lacks the special tokens"),
    ],
)
def test_lines_that_shift_ids_are_refused(tmp_path: pathlib.Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=rf"cannot read the tokenizer '.*vocab\.txt': .*{message}"):
        TextEncoder.load(bert(tmp_path, lines), 8)


@pytest.mark.parametrize(
    ("vocabulary", "merges", "message"),
    [
        ('{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 2}', MERGES, "'</s>' and '<unk>' have the same id, 2"),
        ('{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 9}', MERGES, "no entry has the id 3, but '<unk>' has 9"),
        ('{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": -3}', MERGES, "no entry has the id 3"),
        ('{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<s>": 4}', MERGES, "'<s>' is in it twice"),
        ('{"<s>": 0.5}', MERGES, "no object of entries and their ids"),
        ('{"<s>": true}', MERGES, "no object of entries and their ids"),
        ("[]", MERGES, "no object of entries and their ids"),
        ("{", MERGES, "Expecting property name"),
        ("[" * 100_000, MERGES, "nested too deep"),
        ("", "#version: 0.2\nr e\nre x\n", "line 3 of its merges.txt, 're x', joins no two entries to a third"),
        ("", "#version: 0.2\nr d\n", "line 2 of its merges.txt, 'r d', joins"),
        ("", "#version: 0.2\nr e\nr e\n", "line 3 of its merges.txt repeats line 2"),
        ("", "r\n", "line 1 of its merges.txt, 'r', joins"),
    ],
)
def test_damaged_pairs_are_refused(tmp_path: pathlib.Path, vocabulary: str, merges: str, message: str) -> None:
    with pytest.raises(DataError, match=f"cannot read the tokenizer '.*': .*{message}") as error:
        TextEncoder.load(roberta(tmp_path, vocabulary, merges), 8)
    assert "\n" not in str(error.value)


def set_in(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(tree: Any) -> None:
        for key in path[:-1]:
            tree = tree[key]
        tree[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_in("model", "vocab", "red", value=1), "have the same id"),
        (set_in("model", "vocab", "red", value=10_000), "no entry has the id"),
        (set_in("model", "unk_token", value="[NOT]"), r"Missing \[NOT\]|Missing"),
        (set_in("model", "type", value="Unigram"), "its model is 'Unigram'; accepted are WordPiece, BPE, WordLevel"),
        (set_in("model", value=3), "its model is no object"),
        (set_in("normalizer", value={"type": "Precompiled", "precompiled_charsmap": "AA=="}), "is 'Precompiled'"),
        (
            set_in("pre_tokenizer", value={"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}),
            "its pre_tokenizer is 'Split'",
        ),
        (
            set_in("normalizer", value={"type": "Sequence", "x": [], "normalizers": [{"type": "Replace"}]}),
            "has a part that is none of",
        ),
        (set_in("decoder", value={"type": "Strip", "content": "a", "start": 10**9, "stop": 0}), "is 'Strip'"),
        (lambda tree: tree.pop("model"), "Model missing"),
    ],
)
def test_tokenizers_of_other_parts_are_refused(
    tmp_path: pathlib.Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    tree = trained()
    change(tree)
    (tmp_path / "tokenizer.json").write_text(json.dumps(tree))
    with pytest.raises(DataError, match=rf"cannot read the tokenizer '.*': it is no tokenizer: .*{message}") as error:
        TextEncoder.load(tmp_path, 8)
    assert "\n" not in str(error.value)


def test_what_the_encoder_sets_itself_is_not_taken_from_a_file(tmp_path: pathlib.Path) -> None:
    tree = trained() | {
        "post_processor": {"type": "Nonsense"},
        "padding": {"strategy": {"Fixed": 10**12}},
        "truncation": {"max_length": -1},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(tree))
    assert len(TextEncoder.load(tmp_path, 8).encode("a red circle")[0]) == 8


def test_damage_anywhere_is_one_sentence_or_a_sound_tokenizer(tmp_path: pathlib.Path) -> None:
    good, rng, refused = trained(), random.Random(0), 0

    def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else []
        return [path] * bool(path) + [place for key, value in items for place in places(value, (*path, key))]

    for place in rng.choices(places(good), k=300):
        tree = copy.deepcopy(good)
        set_in(*place, value=rng.choice([None, -1, 10**20, "", [], {}, "x", True, 1.5, 3]))(tree)
        try:
            text = TextEncoder.from_json(json.dumps(tree).encode(), 8)
        except DataError:
            refused += 1
        else:
            ids, _ = text.encode("is there a RED cat? \N{SLIGHTLY SMILING FACE}")
            assert 0 <= ids.min() <= ids.max() < text.vocab_size
            text.tokens(ids)
            text.written(ids)
    assert refused > 100


def test_reading_opens_nothing_else(tmp_path: pathlib.Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(trained()))
    opened: list[str] = []
    watching = True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        by_name = event == "open" and not isinstance(arguments[0], int)  # else what is open already
        if watching and (by_name or event in ("import", "subprocess.Popen", "exec")):
            opened.append(str(arguments[0]))

    sys.addaudithook(watch)
    TextEncoder.load(tmp_path, 8).encode("a red circle")
    watching = False
    assert opened == [str(tmp_path / "tokenizer.json")]


@pytest.mark.parametrize("name", ["vocab.txt", "tokenizer.json"])
def test_only_regular_files_of_utf_8_are_read(tmp_path: pathlib.Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="no regular file"):
        TextEncoder.load(tmp_path / name, 8)
    (tmp_path / name).unlink()
    (tmp_path / name).write_bytes("[PAD]\ncaf\xe9\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"cannot read the tokenizer '.*': .*codec can't decode"):
        TextEncoder.load(tmp_path / name, 8)
    os.truncate(tmp_path / name, 2**27)
    with pytest.raises(DataError, match="it is larger than"):
        TextEncoder.load(tmp_path / name, 8)


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "~nobody_of_this_name/vocab.txt"])
def test_paths_that_are_none_are_refused(path: str) -> None:
    with pytest.raises(DataError, match=r"no vocabulary at|cannot read the tokenizer") as error:
        TextEncoder.load(path, 8)
    assert len(str(error.value)) < 500
    assert "\0" not in str(error.value)


@pytest.mark.parametrize(("text", "message"), [(5, "of type int"), (None, "NoneType"), ("half \ud83d", "surrogate")])
def test_what_is_no_text_is_refused(text: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        TextEncoder.train(["a b"] * 2, 8).encode(text)
