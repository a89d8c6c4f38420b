"""Images laid side by side, and texts that begin as BLIP wants them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from smarttrim_jax.data.images import grouped, side_by_side
from smarttrim_jax.data.text import TextEncoder
from smarttrim_jax.errors import DataError

SENTENCES = ["a red circle", "a red square", "the circle"]


@given(st.integers(1, 9), st.integers(0, 9))
def test_pictures_take_neighbours_in_order_and_share_evenly(images: int, pictures: int) -> None:
    if pictures > images:
        with pytest.raises(DataError, match=f"asks for {pictures} pictures of {images} images"):
            grouped(list(range(images)), pictures)
        return
    groups = grouped(list(range(images)), pictures)
    assert [image for group in groups for image in group] == list(range(images))
    assert len(groups) == (pictures or images)
    sizes = [len(group) for group in groups]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) - min(sizes) <= 1


def test_side_by_side_keeps_pixels_and_scales_to_the_first_height() -> None:
    red, blue = (Image.new("RGB", size, colour) for size, colour in (((4, 6), "red"), ((10, 12), "blue")))
    picture = np.asarray(side_by_side([red, blue]))
    assert picture.shape == (6, 4 + 5, 3)
    assert (picture[:, :4] == (255, 0, 0)).all()
    assert (picture[:, 4:] == (0, 0, 255)).all()
    assert side_by_side([red]) is red


@pytest.mark.parametrize("first", ["[ENC]", "[DEC]"])
def test_blip_texts_begin_with_its_own_words_behind_the_vocabulary(first: str, tmp_path) -> None:
    plain = TextEncoder.train(SENTENCES, 8)
    plain.save(tmp_path / "tokenizer.json")
    text = TextEncoder.load(tmp_path / "tokenizer.json", 8, first)
    words = plain.vocab_size
    assert (text.id_of("[DEC]"), text.id_of("[ENC]"), text.vocab_size) == (words, words + 1, words + 2)
    ids, mask = text.encode("a red circle")
    own, own_mask = plain.encode("a red circle")
    assert ids[0] == text.id_of(first)
    assert own[0] == text.own_start_id
    np.testing.assert_array_equal(ids[1:], own[1:])
    np.testing.assert_array_equal(mask, own_mask)
    assert ids[mask.sum() - 1] == text.end_id
    assert text.written(ids) == "a red circle"
    assert text.tokens(text.encode("[ENC] red")[0])[1] != "[ENC]"


def test_a_model_of_ones_own_may_begin_its_texts_with_a_word_of_its_own() -> None:
    plain = TextEncoder.train(SENTENCES, 8)
    text = TextEncoder.from_json(plain.to_json().encode(), 8, "[READ]")
    assert (text.id_of("[READ]"), text.vocab_size) == (plain.vocab_size, plain.vocab_size + 1)
    ids, _ = text.encode("a red circle")
    assert ids[0] == text.id_of("[READ]")
    assert text.written(ids) == "a red circle"
    assert text.tokens(text.encode("[READ] red")[0])[1] != "[READ]"
    with pytest.raises(DataError, match=r"has no '\[ENC\]'"):
        plain.id_of("[ENC]")
