"""Closed patches are told apart from open ones on every ground."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarttrim_jax.reporting.tiles import EDGE, LINES, SIDE, hatched, resized, tile


def ground(kind: str, size: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    if kind == "random":
        return random.integers(0, 256, (size, size, 3), dtype=np.uint8)
    color = {"white": 255, "black": 0, "paper": hatched(np.zeros((1, 1, 3), np.uint8))[0, 0], "lines": LINES}[kind]
    return np.broadcast_to(np.asarray(color, np.uint8), (size, size, 3)).copy()


@settings(deadline=None)
@given(
    kind=st.sampled_from(["white", "black", "random", "paper", "lines"]),
    size=st.sampled_from([8, 75, 96, 224, 288, 384, 576]),
    grid=st.integers(1, 48),
    seed=st.integers(0, 2**32 - 1),
)
def test_closed_patches_differ_from_open_ones_on_every_ground(kind: str, size: int, grid: int, seed: int) -> None:
    grid = min(grid, size)
    image = ground(kind, size, seed)
    kept = np.random.default_rng(seed).random((grid, grid)) < 0.5
    drawn = tile(image, kept)
    plain = resized(image)
    side = len(drawn)
    assert drawn.shape == plain.shape == (side, side, 3)
    places = np.arange(side) * grid // side
    opened = kept[places][:, places]
    np.testing.assert_array_equal(drawn[opened], plain[opened])
    for row, column in np.argwhere(~kept):
        patch = drawn[places == row][:, places == column].astype(int)
        before = plain[places == row][:, places == column].astype(int)
        assert np.abs(patch - before).mean() > 10  # of 255
        # On even ground hatching alone has several colors.
        assert len(np.unique(patch.reshape(-1, 3), axis=0)) > 1


@pytest.mark.parametrize(("size", "side"), [(8, 200), (48, 240), (75, 225), (224, 224), (384, 384), (480, 240)])
def test_images_are_scaled_by_whole_factors(size: int, side: int) -> None:
    image = ground("random", size, 0)
    scaled = resized(image)
    assert scaled.shape == (side, side, 3)
    assert side >= SIDE
    if size < SIDE:
        np.testing.assert_array_equal(scaled[:: side // size, :: side // size], image)
    else:
        factor = size // side
        np.testing.assert_allclose(scaled[0, 0], image[:factor, :factor].mean(axis=(0, 1)), atol=0.5)


def test_open_and_closed_patches_are_parted_by_a_line() -> None:
    kept = np.array([[True, False], [False, False]])
    drawn = tile(ground("white", 8, 0), kept)
    assert (drawn[:100, 100] == EDGE).all()
    assert (drawn[100, :100] == EDGE).all()
    assert not (drawn[:, 101:] == EDGE).all(axis=-1).any()
