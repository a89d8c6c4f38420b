"""The files in which benchmarks take results, by which their servers or scripts score a test set."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from smarttrim_jax.errors import DataError, quoted


class Result(NamedTuple):
    """What a model said about an example.

    Attributes:
        id: Name of the example, unique in its split.
        metadata: Metadata of its record.
        text: Chosen answer or written caption.
    """

    id: str
    metadata: Mapping[str, Any]
    text: str


class SubmissionFormat(Protocol):
    """Function that formats the results of a whole split."""

    def __call__(self, results: Sequence[Result], /) -> str:
        """Formats results.

        Args:
            results: Results of all examples, in the order of the split.

        Returns:
            Contents of the file.

        Raises:
            DataError: The benchmark does not take such results.
        """


def vqa_results(results: Sequence[Result]) -> str:
    """Formats answers as the VQA challenge takes them: a JSON list of `question_id` and `answer`.

    Args:
        results: Answers; the `question_id` of an example is in its metadata, or its id.

    Returns:
        Contents of the file.

    Raises:
        DataError: A question's id is no whole number.
    """
    return _json_list(
        {"question_id": _whole_number(result, "question_id"), "answer": result.text} for result in results
    )


def coco_caption_results(results: Sequence[Result]) -> str:
    """Formats captions as COCO's server and coco-caption take them: a JSON list of `image_id` and `caption`.

    Args:
        results: Captions; the `image_id` of an example is in its metadata, or its id.

    Returns:
        Contents of the file.

    Raises:
        DataError: An image's id is no whole number.
    """
    return _json_list({"image_id": _whole_number(result, "image_id"), "caption": result.text} for result in results)


def nlvr2_results(results: Sequence[Result]) -> str:
    """Formats judgements as NLVR2's `metrics.py` reads them: lines `identifier,True` or `identifier,False`.

    Args:
        results: Answers "true" or "false" in any case; the `identifier` of an example is in its metadata, or its id.

    Returns:
        Contents of the file.

    Raises:
        DataError: An answer is neither true nor false.
    """
    lines = []
    for result in results:
        answer = result.text.capitalize()
        if answer not in ("True", "False"):
            raise DataError(
                f"the answer of {quoted(result.id)} is {quoted(result.text)}, but the file takes true and false only"
            )
        lines.append(f"{result.metadata.get('identifier', result.id)},{answer}\n")
    return "".join(lines)


def snli_ve_results(results: Sequence[Result]) -> str:
    """Formats judgements like the lines of SNLI-VE's own files: JSON objects with `pairID` and `label`.

    Args:
        results: Answers; the `pairID` of an example is in its metadata, or its id.

    Returns:
        Contents of the file.
    """
    lines = ({"pairID": result.metadata.get("pairID", result.id), "label": result.text} for result in results)
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _json_list(entries: Iterable[Mapping[str, Any]]) -> str:
    return json.dumps(list(entries), ensure_ascii=False) + "\n"


def _whole_number(result: Result, key: str) -> int:
    """Number under a key of the metadata, or else that of the example's id."""
    value = result.metadata.get(key, result.id)
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = None
    if number is None or str(number) != str(value):  # int() would also take 1.5, True and " 1_0".
        raise DataError(f"the {key} of {quoted(result.id)} is {quoted(value)}, but the file takes whole numbers only")
    return number
