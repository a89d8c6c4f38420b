"""VQA v2 from hand-made files in the official layout."""

import collections
import json
import pathlib
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from official_data import brightness, make_vqav2, official, records, vqa_question, write_image, write_json

from smarttrim_jax.data.builders.vqa_rules import frequent_answers, shares, soft_scores
from smarttrim_jax.data.builders.vqav2 import VQAv2
from smarttrim_jax.data.schema import Record
from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.vqa_answers import normalized_answer

HELD_OUT = (57, 73)
"""Numbers of images that the hash holds out; 1 to 56 are trained on."""
MIXED = ["cat"] * 4 + ["dog"] * 3 + ["yes"] * 2 + ["two"]
RARE = ["rare"] * 9 + ["zèbre"]

# Commonest answers in the order of the annotations. "dog" is there 8 times and once in val, which makes it frequent;
# "rare" 8 times in train and val together; "cat", "2" and the empty answer, which articles become, more often.
COMMONEST = ["rare", "The cat", "a", "two", "dog", "cat.", "2", "an", "cat"] + ["cat", "the", "two", "dog"] * 6
COMMONEST += ["dog", "", "2"]


def train_questions() -> list[dict[str, Any]]:
    rows = [vqa_question(1000 + n, 1 + n % 6, answer) for n, answer in enumerate(COMMONEST)]
    rows += [vqa_question(2000 + n, 7, "rare", RARE) for n in range(5)]
    rows += [
        vqa_question(3000, 8, "cat", MIXED),
        vqa_question(3001, 8, "2", ["2", *RARE]),
        vqa_question(3002, 57, "cat"),
    ]
    return [*rows, vqa_question(3003, 73, "rare", RARE), vqa_question(3004, 73, "", ["", "", "a", *RARE])]


def val_questions() -> list[dict[str, Any]]:
    rows = [vqa_question(9000, 101, "dog"), vqa_question(9001, 101, "yes", MIXED), vqa_question(9002, 57, "cat")]
    return [*rows, vqa_question(9003, 103, "rare", RARE)]


NAMES = ["cat", "a", "2", "dog"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return make_vqav2(
        tmp_path_factory.mktemp("vqav2") / "vqa",
        train=train_questions(),
        val=val_questions(),
        test_dev=[vqa_question(7001, 11)],
        test=[vqa_question(7001, 11), vqa_question(7002, 12)],
    )


def found(folder: pathlib.Path, split: str, options: str = "") -> dict[str, Record]:
    return {record.id: record for record in VQAv2(str(folder), options=options).records(split)}


def test_meter_chooses_from_frequent_answers_whatever_is_trained_on(folder: pathlib.Path) -> None:
    for options in ("", "train=train+val,test=test", "test=test-dev"):
        assert VQAv2(str(folder), options=options).answers() == NAMES


def test_meter_scores_answers_by_how_many_gave_them_as_they_gave_them(folder: pathlib.Path) -> None:
    train = found(folder, "train")
    assert train["3000"].answers == {"cat": 1.0, "dog": 0.9}  # "yes" is rare, and "two" is not "2"
    assert train["3001"].answers == {"2": 0.3}
    assert found(folder, "calibration")["3004"].answers == {"a": 0.6}  # "" twice; the letter itself is not known


def test_questions_without_a_known_answer_are_tested_but_not_trained_on(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {*found(folder, "train"), *found(folder, "calibration")}
    rows = train_questions()
    wordy = {str(row["number"]) for row in rows if not set(row["people"]) & {"cat", "", "2", "dog"}}
    assert kept == {str(row["number"]) for row in rows} - wordy
    assert {"1000", "1001", "2004", "3003"} <= wordy
    said = capsys.readouterr().out
    assert (
        f"VQA v2: {len(wordy)} of 46 questions are not trained on, since none of their answers is one of the 4"
        in said
    )
    assert found(folder, "test")["9003"].answers == {}


def test_splits_are_by_image(folder: pathlib.Path) -> None:
    def images(split: str, options: str = "") -> set[str]:
        return {str(record.images[0]).removeprefix(f"{folder}/") for record in found(folder, split, options).values()}

    def train(*numbers: int) -> set[str]:
        return {f"train2014/COCO_train2014_{number:012}.jpg" for number in numbers}

    def val(*numbers: int) -> set[str]:
        return {f"val2014/COCO_val2014_{number:012}.jpg" for number in numbers}

    assert images("train") == train(*range(1, 7), 8)
    assert images("calibration") == train(*HELD_OUT)
    assert images("test") == val(101, 57, 103)
    both = "train=train+val,test=test"
    assert images("train", both) == train(*range(1, 7), 8) | val(101)
    assert images("calibration", both) == train(*HELD_OUT) | val(57)
    test = {f"test2015/COCO_test2015_{number:012}.jpg" for number in (11, 12)}
    assert images("test", both) == test
    assert images("test", "test=test-dev") == {min(test)}


def test_metadata_is_what_metrics_and_result_files_need(folder: pathlib.Path) -> None:
    kind = {"question_type": "what is", "answer_type": "other"}
    assert found(folder, "train")["3000"].metadata == {"question_id": 3000, **kind}
    assert found(folder, "test")["9003"].metadata == {"question_id": 9003, "human_answers": RARE, **kind}
    secret = found(folder, "test", "test=test-dev")["7001"]
    assert (secret.metadata, secret.answers, secret.text) == ({"question_id": 7001}, {}, "What is 7001?")


def test_blip_weighs_answers_by_their_share_and_takes_its_list(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    builder = VQAv2(str(folder), options="rule=blip")
    assert builder.answers() == ["cat", "2", "dog"]
    assert found(folder, "train", "rule=blip")["3000"].answers == {"cat": 0.4, "dog": 0.3, "yes": 0.2, "two": 0.1}
    own = make_vqav2(tmp_path / "vqa", train=train_questions(), val=val_questions())
    write_json(own / "answer_list.json", ["zèbre", "cat", "yes"])
    assert VQAv2(str(own), options="rule=blip").answers() == ["zèbre", "cat", "yes"]
    assert VQAv2(str(own)).answers() == NAMES
    assert found(own, "train", "rule=blip")["2000"].answers == {"rare": 0.9, "zèbre": 0.1}
    write_json(own / "answer_list.json", ["cat", " "])
    with pytest.raises(DataError, match=r"'answer_list.json' is damaged: it is no list of answers; fetch it again"):
        VQAv2(str(own), options="rule=blip").answers()


def test_visual_genome_is_trained_on_only(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    own = make_vqav2(tmp_path / "vqa", train=train_questions(), val=val_questions())
    rows = [
        {"image": "image/7.jpg", "question": "What is on the table?", "answer": "cat ", "dataset": "vg"},
        {"image": "image/57.jpg", "question": "Why?", "answer": "Because it rains."},
        {"image": "image/57.jpg", "question": "Who?", "answer": ""},
        {"image": "image/57.jpg", "question": "What?", "answer": "dog"},
    ]
    write_json(own / "vg_qa.json", rows)
    options = "rule=blip,visual_genome"
    extra = [record for name, record in found(own, "train", options).items() if name.startswith("vg-")]
    assert [(record.id, record.answers) for record in extra] == [("vg-1", {"cat": 0.2}), ("vg-4", {"dog": 0.2})]
    assert extra[0].images == [str(own / "image/7.jpg")]
    for split in ("calibration", "test"):
        assert not any(name.startswith("vg-") for name in found(own, split, options))
    odd = [rows[0] | {"image": image} for image in ("../7.jpg", "image/..", 7)]
    write_json(own / "vg_qa.json", [*rows, *odd])
    builder = VQAv2(str(own), options=options)
    list(builder.records("train"))
    with pytest.raises(
        DataError, match=r"faulty rows of 'vg_qa.json': 3 .row 5 .its image is no path below the s.*, r"
    ):
        builder.faults().refuse("vqav2", str(own), tmp_path)


def test_prepared_records_and_images_come_back(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    vqa = official("vqav2", folder, tmp_path)
    assert (vqa.answer_names, vqa.num_images) == (tuple(NAMES), 1)
    assert vqa.split_sizes == {split: len(found(folder, split)) for split in ("train", "calibration", "test")}
    mixed = next(record for record in records(vqa, "train") if record["id"] == b"3000")
    assert list(mixed["answers"])[:2] == [0, 3]
    assert list(mixed["weights"])[:2] == pytest.approx([1.0, 0.9])
    test = records(vqa, "test")
    assert {record["id"] for record in test} == {b"9000", b"9001", b"9002", b"9003"}
    for record in test:
        expected = next(row for row in val_questions() if str(row["number"]).encode() == record["id"])
        assert record["metadata"]["human_answers"] == expected["people"]
        assert abs(brightness(record["images"][0]) - expected["image"]) <= 3  # as RGB, one channel and CMYK
    blip = official("vqav2", folder, tmp_path, "rule=blip,train=train+val,test=test-dev")
    assert blip.split_sizes["test"] == 1
    assert blip.prepared.folder != vqa.prepared.folder


def test_an_archive_gives_what_the_folder_gives(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with tarfile.open(tmp_path / "vqa.tar.gz", "w:gz") as archive:
        archive.add(folder, "some/where")
    builder = VQAv2(str(tmp_path / "vqa.tar.gz"), str(tmp_path))
    for split in ("train", "calibration", "test"):
        packed = {record.id: record for record in builder.records(split)}
        plain = found(folder, split)
        assert packed.keys() == plain.keys()
        for name, record in packed.items():
            assert (record.text, record.answers) == (plain[name].text, plain[name].answers)
            assert record.images[0] == pathlib.Path(str(plain[name].images[0])).read_bytes()


def change(file: str, edit: Callable[[Any], Any]) -> Callable[[pathlib.Path], object]:
    """What edits the list in a file."""

    def damage(folder: pathlib.Path) -> None:
        path = folder / file
        content = json.loads(path.read_text())
        key = "annotations" if "annotations" in content else "questions"
        edit(content[key])
        path.write_text(json.dumps(content))

    return damage


QUESTIONS = "v2_OpenEnded_mscoco_train2014_questions.json"
ANNOTATIONS = "v2_mscoco_train2014_annotations.json"
VAL_ANNOTATIONS = "v2_mscoco_val2014_annotations.json"
BAD_QUESTIONS = f"faulty rows of '{QUESTIONS}':"
BAD_ANNOTATIONS = f"faulty rows of '{ANNOTATIONS}':"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / VAL_ANNOTATIONS).unlink(),
            f"VQA v2 in '.*' lacks {VAL_ANNOTATIONS}; fetch it from",
        ),
        (
            lambda folder: [(folder / name).unlink() for name in (ANNOTATIONS, VAL_ANNOTATIONS)],
            f"VQA v2 in '.*' lacks {ANNOTATIONS}, {VAL_ANNOTATIONS}; fetch it from",
        ),
        (
            lambda folder: (folder / ANNOTATIONS).write_text((folder / ANNOTATIONS).read_text()[:-30]),
            f"'{ANNOTATIONS}' is damaged: .*; fetch it again",
        ),
        (
            lambda folder: (folder / QUESTIONS).write_text('{"questions": {}}'),
            f"'{QUESTIONS}' is damaged: it holds no list 'questions'; fetch it again",
        ),
        (lambda folder: (folder / QUESTIONS).write_text("[]"), "it holds no list 'questions'"),
        (
            change(QUESTIONS, lambda rows: rows[2].pop("question")),
            f"{BAD_QUESTIONS} 1 .row 3 '1002' .its question is no text",
        ),
        (change(QUESTIONS, lambda rows: rows[2].update(image_id="3")), "its image_id is no whole number from 0 on"),
        (
            change(QUESTIONS, lambda rows: rows.__setitem__(slice(0, 2), [None, 7])),
            f"{BAD_QUESTIONS} 2 .row 1 .it is no object",
        ),
        (
            change(QUESTIONS, lambda rows: rows[5].update(question_id=1001)),
            f"{BAD_QUESTIONS} 1 .row 6 '1001' .its question_id is that of row 2",
        ),
        (
            change(ANNOTATIONS, lambda rows: rows[0].update(answers=[])),
            f"{BAD_ANNOTATIONS} 1 .row 1 '1000' .its answers are",
        ),
        (
            change(ANNOTATIONS, lambda rows: rows[0].update(answers="cat")),
            "its answers are no list with at least one",
        ),
        (
            change(ANNOTATIONS, lambda rows: [row["answers"][3].update(answer=7) for row in rows[:5]]),
            f"{BAD_ANNOTATIONS} 5 .row 1 '1000' .one of its answers has no text 'answer'",
        ),
        (change(ANNOTATIONS, lambda rows: rows[0].pop("answer_type")), "its answer_type is no text"),
        (
            change(ANNOTATIONS, lambda rows: rows.pop()),
            f"'{ANNOTATIONS}' lacks 1 of the 46 questions of '{QUESTIONS}' and has 0 others, question 3004 first",
        ),
        (
            change(QUESTIONS, lambda rows: rows.pop()),
            "lacks 0 of the 45 questions of .* and has 1 others, question 3004",
        ),
        (change(ANNOTATIONS, lambda rows: rows[0].update(image_id=999)), "lacks 1 of the 46 questions"),
        (
            lambda folder: [(folder / f"train2014/COCO_train2014_{n:012}.jpg").unlink() for n in (1, 8)],
            r"images that are missing: 2 \(train '1006' '.*_000000000001.jpg', train '3000' '.*_000000000008.jpg'\)",
        ),
        (
            lambda folder: (folder / f"val2014/COCO_val2014_{101:012}.jpg").write_bytes(b"\xff\xd8\xff"),
            r"images that cannot be read: 1 \(test '9000' '.*_000000000101.jpg'\)",
        ),
    ],
)
def test_faults_are_errors_that_say_where(
    tmp_path: pathlib.Path, damage: Callable[[pathlib.Path], object], message: str
) -> None:
    own = make_vqav2(tmp_path / "vqa", train=train_questions(), val=val_questions())
    damage(own)
    with pytest.raises(DataError, match=message) as error:
        official("vqav2", own, tmp_path / "prepared")
    assert "\n" not in str(error.value)


def test_faults_of_all_files_are_told_at_once(tmp_path: pathlib.Path) -> None:
    own = make_vqav2(tmp_path / "vqa", train=train_questions(), val=val_questions())
    change(QUESTIONS, lambda rows: rows[2].pop("question"))(own)
    change(ANNOTATIONS, lambda rows: rows[7].update(image_id="3"))(own)
    (own / f"val2014/COCO_val2014_{101:012}.jpg").unlink()
    with pytest.raises(DataError) as error:
        official("vqav2", own, tmp_path / "prepared")
    for fault in (f"{BAD_QUESTIONS} 1 (row 3 ", f"{BAD_ANNOTATIONS} 1 (row 8 ", "images that are missing: 1 ("):
        assert fault in str(error.value)


def test_options_and_sources_that_do_not_fit_are_refused(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="train is 'train\\+val', so 'val' is no test; choose test=test-dev or"):
        VQAv2(str(folder), options="train=train+val")
    with pytest.raises(ConfigError, match="visual_genome needs rule=blip; rule is 'meter'"):
        VQAv2(str(folder), options="visual_genome")
    with pytest.raises(ConfigError, match="rule"):
        VQAv2(str(folder), options="rule=vilt")
    with pytest.raises(
        DataError, match=r"VQA v2 needs data.source, a folder with its official files, which visualqa"
    ):
        VQAv2().answers()
    write_image(tmp_path / "photos" / "1.jpg", 1)
    with pytest.raises(DataError, match=r"no data at .*; it must be a folder or .tar.gz that holds v2_OpenEnded"):
        VQAv2(str(tmp_path)).answers()


ANSWERS = st.sampled_from(
    ["cat", "Cat.", "the cat", "", "a", "an", "two", "2", "none", "dont", "don't", "1,000", "x-ray", "x - ray", "9.5"]
)


@given(st.lists(ANSWERS, max_size=150), st.lists(ANSWERS, min_size=1, max_size=10))
def test_meters_rule_equals_its_recomputation(commonest: list[str], people: list[str]) -> None:
    normal = list(map(normalized_answer, commonest))
    frequent = [each for index, each in enumerate(normal) if normal.count(each) > 8 and each not in normal[:index]]
    assert frequent_answers(commonest) == frequent
    scores: dict[str, float] = {}
    for answer in people:
        if answer in frequent:
            scores[answer or "a"] = {1: 0.3, 2: 0.6, 3: 0.9}.get(people.count(answer), 1.0)
    assert soft_scores(people, frequent) == scores


@given(st.lists(ANSWERS, min_size=1, max_size=10))
def test_blips_weights_sum_to_the_share_of_answers_that_are_not_blank(people: list[str]) -> None:
    weights = shares(people)
    assert sum(weights.values()) == pytest.approx(sum(map(bool, people)) / len(people))
    counts = collections.Counter(people)
    assert all(weights[answer] == counts[answer] / len(people) for answer in weights)
