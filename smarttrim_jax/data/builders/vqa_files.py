"""The official files of VQA v2: questions about images, and what ten people answered to each."""

import sys
from typing import Any, NamedTuple

from smarttrim_jax.data.builders.rows import good_rows, is_count, is_path_below, read_list
from smarttrim_jax.data.faults import Faults
from smarttrim_jax.data.schema import is_text
from smarttrim_jax.errors import DataError

_TEXTS = ("question_type", "answer_type", "multiple_choice_answer")


class Annotation(NamedTuple):
    """What is known of a question's answers.

    Attributes:
        question_type: The words that it begins with: "how many".
        answer_type: "yes/no", "number" or "other".
        commonest: The answer that most people gave, "multiple_choice_answer" of the file.
        answers: The answer of every person.
    """

    question_type: str
    answer_type: str
    commonest: str
    answers: tuple[str, ...]


class Question(NamedTuple):
    """A question about an image.

    Attributes:
        number: `question_id` of the file.
        image: Number of the image in COCO.
        text: The question.
        annotation: Its answers; None where they are secret.
    """

    number: int
    image: int
    text: str
    annotation: Annotation | None = None


class VisualGenomeQuestion(NamedTuple):
    """A question of Visual Genome, as BLIP's `vg_qa.json` lists it.

    Attributes:
        image: Path of the image's file.
        text: The question.
        answer: Its answer.
    """

    image: str
    text: str
    answer: str


def read_questions(faults: Faults, content: bytes, file: str) -> list[Question]:
    """Reads a file of questions.

    Args:
        faults: Collects the rows that cannot be used or that repeat a question.
        content: Bytes of the file.
        file: Name of the file in error messages.

    Returns:
        Its questions in order, without answers.

    Raises:
        DataError: The file is damaged.
    """
    rows = good_rows(faults, file, read_list(content, file, "questions"), _question_problem, "question_id")
    return [Question(row["question_id"], row["image_id"], row["question"]) for row in rows]


def with_annotations(
    faults: Faults, questions: list[Question], questions_file: str, content: bytes, annotations_file: str
) -> list[Question]:
    """Adds the answers of a file of annotations to questions.

    Args:
        faults: Collects the rows that cannot be used or that repeat a question.
        questions: Questions without answers.
        questions_file: Name of their file in error messages.
        content: Bytes of the file of annotations.
        annotations_file: Name of that file in error messages.

    Returns:
        The questions with answers, in the order of the annotations; where there are faults, those that have both.

    Raises:
        DataError: The file is damaged, or is not the one of these questions.
    """
    listed = read_list(content, annotations_file, "annotations")
    rows = good_rows(faults, annotations_file, listed, _annotation_problem, "question_id")
    keys = [(row["question_id"], row["image_id"]) for row in rows]
    asked = {(question.number, question.image): question for question in questions}
    missing = asked.keys() - set(keys)
    surplus = set(keys) - asked.keys()
    if (missing or surplus) and not faults:
        first = min(missing or surplus)[0]
        raise DataError(
            f"'{annotations_file}' lacks {len(missing):,} of the {len(asked):,} questions of '{questions_file}' and "
            f"has {len(surplus):,} others, question {first} first; fetch both files anew"
        )
    annotations = map(_annotation, rows)
    annotated = zip(keys, annotations, strict=True)
    return [asked[key]._replace(annotation=annotation) for key, annotation in annotated if key in asked]


def read_visual_genome(faults: Faults, content: bytes, file: str) -> list[VisualGenomeQuestion]:
    """Reads BLIP's list of Visual Genome's questions.

    Args:
        faults: Collects the rows that cannot be used.
        content: Bytes of the file.
        file: Name of the file in error messages.

    Returns:
        Its questions in order.

    Raises:
        DataError: The file is damaged.
    """
    rows = good_rows(faults, file, read_list(content, file), _visual_genome_problem)
    return [VisualGenomeQuestion(row["image"], row["question"], row["answer"]) for row in rows]


def _annotation(row: Any) -> Annotation:
    """Keeps what is needed of a row; the same few texts come again and again, and are kept once."""
    return Annotation(
        sys.intern(row["question_type"]),
        sys.intern(row["answer_type"]),
        sys.intern(row["multiple_choice_answer"]),
        tuple(sys.intern(given["answer"]) for given in row["answers"]),
    )


def _question_problem(row: Any) -> str:
    """Describes what is wrong with a row of questions; "" if nothing is."""
    problem = _key_problem(row)
    return problem or ("" if is_text(row.get("question")) else "its question is no text")


def _annotation_problem(row: Any) -> str:
    """Describes what is wrong with a row of annotations; "" if nothing is."""
    if problem := _key_problem(row):
        return problem
    for name in _TEXTS:
        if not isinstance(row.get(name), str):
            return f"its {name} is no text"
    answers = row.get("answers")
    if not isinstance(answers, list) or not answers:
        return "its answers are no list with at least one"
    if not all(isinstance(given, dict) and isinstance(given.get("answer"), str) for given in answers):
        return "one of its answers has no text 'answer'"
    return ""


def _visual_genome_problem(row: Any) -> str:
    """Describes what is wrong with a row of Visual Genome's questions; "" if nothing is."""
    if not isinstance(row, dict):
        return "it is no object"
    if not is_path_below(row.get("image")):
        return "its image is no path below the source"
    if not is_text(row.get("question")):
        return "its question is no text"
    return "" if isinstance(row.get("answer"), str) else "its answer is no text"


def _key_problem(row: Any) -> str:
    if not isinstance(row, dict):
        return "it is no object"
    wrong = [name for name in ("question_id", "image_id") if not is_count(row.get(name))]
    return f"its {wrong[0]} is no whole number from 0 on" if wrong else ""
