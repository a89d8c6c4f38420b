"""What a prepared record holds on disk, by the kind of its data set."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from smarttrim_jax.data.schema import UNKNOWN, Kind, Record

Stored = dict[str, Any]
"""A record as it is read. In every data set: `id`, `text` (both as UTF-8), `images` (contents of their files) and
`metadata`. And of its kind:

- answer: `answer`, its number.
- answers: `answers` (numbers) and `weights`, the heaviest first, as many in every record, filled up with answers of
  weight 0; `answer`, the first of them.
- references: `references`, the first of which is `text` too.

A number is `schema.UNKNOWN` where the answer is none of the data set's. On disk, `images` are their numbers in the
image files, and `metadata` is a JSON text.
"""


def record_features(kind: Kind, answers: Sequence[str]) -> tfds.features.FeaturesDict:
    """Builds the TFDS features that records are written and read with.

    Args:
        kind: What each record has: an answer, weighted answers or references.
        answers: Names of the classes, in the order of their numbers; empty where records have references.

    Returns:
        Features of `id`, `images`, `text`, `metadata` and the fields of the kind.
    """
    features = {
        "id": tfds.features.Text(),
        "images": tfds.features.Sequence(tfds.features.Scalar(np.int64)),
        "text": tfds.features.Text(),
        "metadata": tfds.features.Text(),
    }
    if kind == "references":
        features["references"] = tfds.features.Sequence(tfds.features.Text())
    else:
        features["answer"] = tfds.features.ClassLabel(names=list(answers))
    if kind == "answers":
        features["answers"] = tfds.features.Sequence(tfds.features.Scalar(np.int64))
        features["weights"] = tfds.features.Sequence(tfds.features.Scalar(np.float32))
    return tfds.features.FeaturesDict(features)


def stored(record: Record, images: Sequence[int], numbers: Mapping[str, int], most_answers: int) -> Stored:
    """Converts a record to the form in which it is written.

    Args:
        record: A record without faults.
        images: Numbers of its images.
        numbers: Number of each answer by its name.
        most_answers: Number of weighted answers of every stored record, fillers included.

    Returns:
        The record as described at `Stored`.
    """
    metadata = json.dumps(dict(record.metadata))
    common: Stored = {"id": record.id, "images": list(images), "text": record.text, "metadata": metadata}
    if record.references is not None:
        return common | {"text": record.references[0], "references": list(record.references)}
    if record.answer is not None:
        return common | {"answer": numbers.get(record.answer, UNKNOWN)}
    answers = sorted((record.answers or {}).items(), key=lambda entry: -entry[1])
    ids = [numbers.get(name, UNKNOWN) for name, _ in answers]
    weights = [float(weight) for _, weight in answers]
    fillers = most_answers - len(answers)
    return common | {
        "answer": ids[0] if ids else UNKNOWN,
        "answers": [*ids, *[UNKNOWN] * fillers],
        "weights": [*weights, *[0.0] * fillers],
    }


def texts_of(record: Stored) -> list[str]:
    """Returns the texts of a record of a `Dataset`: its references, or else its text alone."""
    return [text.decode() for text in record.get("references", [record["text"]])]


def without_unknown(record: Record, numbers: Mapping[str, int]) -> Record:
    """Removes weighted answers that have no number from a training record, since they cannot be learnt.

    Args:
        record: A record with at least one answer that has a number.
        numbers: Number of each answer by its name.

    Returns:
        The record with known answers only.
    """
    if record.answers is None:
        return record
    known = {name: weight for name, weight in record.answers.items() if name in numbers}
    return dataclasses.replace(record, answers=known)
