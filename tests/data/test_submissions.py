"""Files of results are those that the benchmarks' servers and scripts read."""

import json
from typing import Any

import pytest

from smarttrim_jax.data.submissions import (
    Result,
    coco_caption_results,
    nlvr2_results,
    snli_ve_results,
    vqa_results,
)
from smarttrim_jax.errors import DataError


def test_answers_are_the_list_that_the_vqa_challenge_takes() -> None:
    results = [Result("test-7", {"question_id": 262148000}, "café"), Result("262148001", {}, "2")]
    written = vqa_results(results)
    assert json.loads(written) == [
        {"question_id": 262148000, "answer": "café"},
        {"question_id": 262148001, "answer": "2"},
    ]
    assert "café" in written
    assert json.loads(vqa_results([])) == []


def test_captions_are_the_list_that_coco_takes() -> None:
    results = [Result("x", {"image_id": 42}, "a dog"), Result("y", {"image_id": "391895"}, "")]
    expected = [{"image_id": 42, "caption": "a dog"}, {"image_id": 391895, "caption": ""}]
    assert json.loads(coco_caption_results(results)) == expected


def test_judgements_of_nlvr2_are_read_by_its_script() -> None:
    results = [Result("test1-0-0-0", {}, "true"), Result("a", {"identifier": "test1-0-1-0"}, "False")]
    predictions = dict(line.strip().split(",") for line in nlvr2_results(results).splitlines())
    assert predictions == {"test1-0-0-0": "True", "test1-0-1-0": "False"}


def test_judgements_of_snli_ve_are_lines() -> None:
    results = [Result("1", {"pairID": "4705552913.jpg#2r1n"}, "neutral"), Result("2.jpg#0", {}, "entailment")]
    assert [json.loads(line) for line in snli_ve_results(results).splitlines()] == [
        {"pairID": "4705552913.jpg#2r1n", "label": "neutral"},
        {"pairID": "2.jpg#0", "label": "entailment"},
    ]


@pytest.mark.parametrize("number", ["q7", 1.5, True, "1_0", " 7", None, "007"])
def test_an_id_that_is_no_whole_number_is_one_sentence(number: Any) -> None:
    with pytest.raises(
        DataError, match=r"^the question_id of 'here' is '.*', but the file takes whole numbers only$"
    ):
        vqa_results([Result("here", {"question_id": number}, "yes")])


def test_a_judgement_that_is_neither_true_nor_false_is_one_sentence() -> None:
    with pytest.raises(DataError, match=r"^the answer of 'here' is 'yes', but the file takes true and false only$"):
        nlvr2_results([Result("here", {}, "yes")])
