"""A whole evaluation set as one self-contained HTML page."""

import base64
import io
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from smarttrim_jax.reporting.tables import shown_score

TEMPLATE = pathlib.Path(__file__).with_name("page.html")

_TITLE = b"<title>smarttrim_jax</title>"
_HEAD = 1000


def build_page(examples: Iterable[Any], title: str, scores: Mapping[str, float | None] | None = None) -> str:
    """Builds the page: the distribution of MACs, and a card for every example, sortable by cost and by error.

    Args:
        examples: Explanations of `serving.explanation.explain`.
        title: Heading of the page.
        scores: Metrics over the examples by name; None for none.

    Returns:
        The page as HTML.
    """
    records, names = [], {}
    pictures: dict[bytes, int] = {}  # Numbers of the different images, which several examples may share.
    encoded: list[str] = []

    def number(image: np.ndarray) -> int:
        """Number of an image among the page's pictures, to which it is added if it is new."""
        if pictures.setdefault(image.tobytes(), len(encoded)) == len(encoded):
            encoded.append(_encoded(image))
        return pictures[image.tobytes()]

    for example in examples:
        names = {"layers": example.layers, "text_layers": example.text_layers, "heads": list(example.heads)}
        records.append(
            {
                "index": example.index,
                "images": [number(image) for image in example.images],
                "text": example.text,
                "words": example.words,
                "dropped": example.dropped,
                "answer": example.answer,
                "label": example.label,
                "correct": example.correct,
                "references": example.references,
                "confidence": round(example.confidence, 4),
                "macs": round(example.macs, 4),
                "patches": [[_bits(grid) for grid in layer] for layer in example.patches],
                "grid": list(example.patches.shape[-2:]),
                "heads": [round(share, 3) for share in example.heads.values()],
                "found_images": _found(example.found_images, lambda images: [number(image) for image in images]),
                "found_texts": _found(example.found_texts, str),
            }
        )
    shown = {name: shown_score(score) for name, score in (scores or {}).items()}
    content = {"title": title, "scores": shown, **names, "pictures": encoded, "examples": records}
    data = json.dumps(content, separators=(",", ":"))
    # "</script>" would end the element that holds the data, and "<!--<script>" would start one that never ends.
    return TEMPLATE.read_text(encoding="utf-8").replace("{{data}}", data.replace("<", "\\u003c"))


def is_page(file: pathlib.Path) -> bool:
    """Tells whether a file is a page of `build_page`, of any version.

    Args:
        file: Path of a file, which need not exist.

    Returns:
        True for such a page.
    """
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return _TITLE in opened.read(_HEAD)


def _encoded(image: np.ndarray) -> str:
    file = io.BytesIO()
    small = image.shape[0] <= 128
    Image.fromarray(image).save(file, "PNG" if small else "JPEG", **({} if small else {"quality": 85}))
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _found(retrieved: Any, shown: Callable[[Any], Any]) -> dict[str, Any] | None:
    """Converts what a query found, if anything was searched."""
    if retrieved is None:
        return None
    first = [[shown(each.content), round(each.score, 4), each.right] for each in retrieved.first]
    return {"first": first, "place": retrieved.place, "candidates": retrieved.candidates}


def _bits(grid: np.ndarray) -> str:
    """Encodes which patches are kept, as hexadecimal digits of four patches each, row by row."""
    flat = grid.reshape(-1)
    padded = np.concatenate([flat, np.zeros(-len(flat) % 4, bool)]).reshape(-1, 4)
    return "".join("0123456789abcdef"[int(four @ (8, 4, 2, 1))] for four in padded)
