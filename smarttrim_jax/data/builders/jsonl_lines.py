"""Converts a line of a user's own folder to a record."""

import collections
from typing import Any

from smarttrim_jax.data.schema import Record, is_text
from smarttrim_jax.json_text import parse_json

WHOLLY_RIGHT = 3
"""Weight of an answer per share of the people who gave it; for ten people this is VQA's score: .3, .6, .9, 1."""


def read_line(line: bytes, default_id: str) -> Record | None:
    """Converts a line to a record, which may be faulty: `schema.problems` finds out.

    Args:
        line: JSON in UTF-8; see `Jsonl` for its keys.
        default_id: Name of an example that has none.

    Returns:
        The record, its images as paths; None where the line is not a JSON object.
    """
    try:
        row = parse_json(line.decode())
    except ValueError:
        return None
    if not isinstance(row, dict):
        return None
    images = row.get("image", row.get("images"))
    name = row.get("id", default_id)
    captions = row.get("captions")
    answer = row.get("answer")
    record: dict[str, Any] = {
        "id": str(name) if isinstance(name, int) and not isinstance(name, bool) else name,
        "images": [images] if isinstance(images, str) else images,
        "text": row.get("text", row.get("question", "")),
        "answer": answer.strip() if isinstance(answer, str) else answer,
        "answers": _weights(row.get("answers")),
        "references": [captions] if isinstance(captions, str) else captions,
    }
    return Record(**record)


def _weights(answers: Any) -> Any:
    """Converts a list of answers to weights by how often each was given; other values are returned unchanged."""
    if not isinstance(answers, list) or not all(map(is_text, answers)):
        return answers
    counts = collections.Counter(name.strip() for name in answers)
    return {name: min(1.0, WHOLLY_RIGHT * count / len(answers)) for name, count in counts.items()}
