"""A digest of what defines prepared data, wherever and however it is stored."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from smarttrim_jax.data.prepared import PreparedFolder
from smarttrim_jax.data.text import TextEncoder

RECORDS_OF_A_SPLIT = 256
_JUDGED = ("answer", "answers", "weights", "references")


def fingerprint(prepared: PreparedFolder, text: TextEncoder) -> str:
    """Computes a digest of a data set as a model is trained on it.

    Args:
        prepared: Prepared records. Name, version, split sizes, answer names, and up to `RECORDS_OF_A_SPLIT` evenly
            spaced records of every split enter the digest.
        text: Tokenizer. Its vocabulary, and the token ids of those records' texts, enter the digest.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: A record is damaged.
    """
    digest = hashlib.sha256()
    for part in _parts(prepared, text):
        # Each part is preceded by its length, so that different lists of parts give different bytes.
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _parts(prepared: PreparedFolder, text: TextEncoder) -> Iterator[bytes]:
    yield repr(
        (prepared.name, prepared.version, sorted(prepared.split_sizes.items()), prepared.answer_names)
    ).encode()
    yield repr(text.vocabulary()).encode()
    for split, size in sorted(prepared.split_sizes.items()):
        records = prepared.records(split)
        for index in np.unique(np.linspace(0, size - 1, min(size, RECORDS_OF_A_SPLIT)).round().astype(int)):
            record = records[index]
            ids, _ = text.encode(record["text"].decode())
            yield from (record["id"], record["text"], ids.tobytes())
            yield from (repr(_plain(record[key])).encode() for key in _JUDGED if key in record)
            yield from (bytes(image) for image in record["images"])


def _plain(value: Any) -> Any:
    """Converts arrays to lists, whose written form does not depend on the version of NumPy."""
    return value.tolist() if isinstance(value, np.ndarray) else value
