"""Lines of questions and of answers: a bad one costs only itself, and nothing is answered twice."""

import io
import json
import os
import pathlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarttrim_jax.errors import DataError
from smarttrim_jax.serving import question_file
from smarttrim_jax.serving.predictor import Failure
from smarttrim_jax.serving.question_file import AnswerFile, read_questions
from smarttrim_jax.serving.questions import Question

GOOD = b'{"image": "a.png", "text": "is it red?", "id": 7}'
LABEL = {"run": "runs/a@1", "speedup": 2.0}

# A line, and what its sentence must say.
BAD = {
    "no JSON": (b'{"image": "a.png", ', "line 2 is no JSON"),
    "a list": (b'["a.png", "is it red?"]', "line 2 is list"),
    "a number": (b"5", "line 2 is int"),
    "not a number": (b'{"image": "a.png", "text": "x", "weight": NaN}', "NaN"),
    "latin1": (b'{"image": "a.png", "text": "g\xe9om"}', "line 2 is not UTF-8 (byte 0xe9 at 29)"),
    "UTF-16": ('{"image": "a.png"}'.encode("utf-16"), "line 2 is not UTF-8"),
    "too deep": (b"[" * 100_000, "line 2 is no JSON"),
    "a long number": (b'{"image": "a.png", "n": ' + b"9" * 5000 + b"}", "line 2 is no JSON"),
    "no image": (b'{"text": "is it red?"}', "image is None"),
    "an image of numbers": (b'{"image": [5], "text": "x"}', "image is [5]"),
    "an image that is an object": (b'{"image": {"path": "a.png"}, "text": "x"}', "image is {"),
    "two lines in one": (GOOD + GOOD, "line 2 is no JSON"),
}


def write(folder: pathlib.Path, *lines: bytes, name: str = "questions.jsonl") -> str:
    file = folder / name
    file.write_bytes(b"\n".join(lines) + b"\n")
    return str(file)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_costs_only_itself(name: str, tmp_path: pathlib.Path) -> None:
    line, sentence = BAD[name]
    first, second, third = read_questions(write(tmp_path, GOOD, line, GOOD))
    assert isinstance(second.question, Failure)
    assert sentence in second.question.error
    assert first == third
    assert first.question == Question(("a.png",), "is it red?")
    assert first.record["id"] == 7


def test_a_line_that_never_ends_is_not_held_in_memory(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(question_file, "LONGEST_LINE", 100)
    first, second, third = read_questions(write(tmp_path, GOOD, b'{"text": "' + b"x" * 1000 + b'"}', GOOD))
    assert "longer than a question" in second.question.error
    assert first == third


def test_lines_end_at_newlines_alone_and_empty_ones_are_left_out(tmp_path: pathlib.Path) -> None:
    odd = '{"images": ["a.png", "b.png"], "question": "one\u2028two\u0085three\x0bfour"}'.encode()
    file = write(tmp_path, b"\xef\xbb\xbf" + odd.replace(b"\x0b", b"\\u000b"), b"", b"  \r", GOOD + b"\r")
    first, second = read_questions(file)
    assert first.question == Question(("a.png", "b.png"), "one\u2028two\u0085three\x0bfour")
    assert second.question == Question(("a.png",), "is it red?")


def test_standard_input_is_read_and_a_missing_file_is_named(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(GOOD)))
    (one,) = read_questions("-")
    assert one.record["id"] == 7
    for path in (tmp_path / "nowhere.jsonl", tmp_path, "a\0b"):
        with pytest.raises(DataError, match="cannot read"):
            list(read_questions(str(path)))


def answer_all(path: str, count: int) -> int:
    """Answers so many questions, as the command does; gives how many it answered itself."""
    records = [{"id": number, "text": "é" * (number % 7), "answer": "given"} for number in range(count)]
    with AnswerFile(path, LABEL) as output:
        for record in records[: output.done]:
            output.check_next(record)
        for record in records[output.done :]:
            output.write(record, {"answer": "red"})
        return count - output.done


@given(count=st.integers(0, 12), place=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_a_cut_output_is_gone_on_with_wherever_it_was_cut(tmp_path_factory: Any, count: int, place: float) -> None:
    folder = tmp_path_factory.mktemp("answers")
    answer_all(str(folder / "whole"), count)
    whole = (folder / "whole").read_bytes()
    cut = whole[: round(place * len(whole))]
    (folder / "cut").write_bytes(cut)
    assert answer_all(str(folder / "cut"), count) == count - cut.count(b"\n")
    assert (folder / "cut").read_bytes() == whole
    lines = [json.loads(line) for line in whole.splitlines()]
    assert [line["id"] for line in lines] == list(range(count))
    assert all(line["given_answer"] == "given" and line["run"] == "runs/a@1" for line in lines)


@pytest.mark.parametrize(
    ("label", "record"),
    [
        ({"run": "runs/a@2", "speedup": 2.0}, {"id": 0}),
        ({"run": "runs/a@1", "speedup": 3.0}, {"id": 0}),
        (LABEL, {"id": 1}),
        (LABEL, {"id": 0, "text": "x"}),
    ],
)
def test_answers_of_others_are_not_taken_for_ones_own(
    label: dict[str, Any], record: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerFile(str(path), LABEL) as output:
        output.write({"id": 0}, {"answer": "red"})
    before = path.read_bytes()
    with AnswerFile(str(path), label) as output, pytest.raises(DataError, match="holds other answers"):
        output.check_next(record)
    assert path.read_bytes() == before


def test_every_key_of_a_question_is_passed_on_and_nothing_but_json_written(tmp_path: pathlib.Path) -> None:
    asked, path = tmp_path / "asked.jsonl", tmp_path / "answers.jsonl"
    asked.write_text(
        '{"image": "a.png", "answer": 1, "given_answer": 2, "n": 1e308}\n{"image": "a.png", "n": 1e999}\n'
    )
    good, bad = read_questions(str(asked))
    assert isinstance(bad.question, Failure)
    assert "1e999 is too large" in bad.question.error
    with AnswerFile(str(path), LABEL) as output:
        output.write(good.record, {"answer": "red"})
        output.write(bad.record, {"error": "no"})
    with AnswerFile(str(path), LABEL) as output:
        assert [output.check_next(line.record) for line in (good, bad)] == [True, False]
    line = json.loads(path.read_text().splitlines()[0])
    passed = {"given_answer": 2, "given_given_answer": 1, "answer": "red", "n": 1e308}
    assert line == {"image": "a.png"} | passed | LABEL


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
def test_a_full_disk_is_one_sentence() -> None:
    said = r"cannot write '/dev/full'.*choose another"
    with pytest.raises(DataError, match=said), AnswerFile("/dev/full", LABEL) as output:
        output.write({"id": 0}, {"answer": "red"})


def test_a_file_that_is_no_output_stays_as_it_is(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "notes.txt"
    for content in ("milk\nbread\n", "milk\n{bread", "milk", "milk\nbread"):
        path.write_text(content)
        with pytest.raises(DataError, match=r"holds (other|no) answers"), AnswerFile(str(path), LABEL) as output:
            output.check_next({"id": 0})
        assert path.read_text() == content


def test_two_processes_do_not_write_one_file(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "answers.jsonl")
    with AnswerFile(path, LABEL), pytest.raises(DataError, match="another process writes"):
        AnswerFile(path, LABEL)
    with pytest.raises(DataError, match="cannot write"):
        AnswerFile(str(tmp_path / "nowhere" / "answers.jsonl"), LABEL)
