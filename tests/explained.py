"""Explanations as no model made them, for pictures and pages."""

from typing import Any

import numpy as np

from smarttrim_jax.serving.explanation import Explanation


def explanation(seed: int = 0, *, size: int = 24, grid: int = 4, images: int = 1, **changes: Any) -> Explanation:
    """Random images, of which three layers read ever fewer patches."""
    random = np.random.default_rng(seed)
    patches = np.cumprod(random.random((3, images, grid, grid)) < 0.7, axis=0).astype(bool)
    patches[0] = True
    values = {
        "index": seed,
        "images": random.integers(0, 256, (images, size, size, 3), dtype=np.uint8),
        "text": "is it blue?",
        "words": ["[CLS]", "is", "it", "blue", "?", "[SEP]"],
        "answer": "yes",
        "label": None,
        "confidence": 0.75,
        "macs": 0.5,
        "layers": ["image 0", "image 1", "fusion 0"],
        "patches": patches,
        "text_layers": ["text 0", "fusion 0"],
        "dropped": [2, 0, 1, 2, 2, 1],
        "heads": {"image 0": 1.0, "image 1": 0.25, "fusion image 0 cross": 0.0},
    }
    return Explanation(**values | changes)
