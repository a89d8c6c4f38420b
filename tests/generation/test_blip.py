"""BLIP writes what the official code writes, and, trimmed, what its own reading word by word would choose."""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from classic_search import classic_search
from table_decoder import without_end
from tiny_blip import CLOSING, TinyBlip, tiny_blip

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.generation import GenerationConfig
from smarttrim_jax.generation.blip import write_answers, write_captions
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.pretrained import from_official_blip
from smarttrim_jax.tokens import compact

DEC, LENGTH = 5, 7
GREEDY = GenerationConfig(eos_id=3, pad_id=0, max_length=LENGTH)


def test_beam_search_generates_the_official_answers(golden: pathlib.Path) -> None:
    blip = np.load(golden / "blip_tiny_vqa.npz")
    settings = json.loads(str(blip["config"]))
    special = settings["special"]
    weights = {key.removeprefix("state_dict/"): blip[key] for key in blip if "state_dict/" in key}
    config, params = from_official_blip(weights, task="vqa", vision_heads=6, text_heads=5)
    questions = jnp.asarray(blip["inputs/question_ids"]).at[:, 0].set(special["enc_token_id"])
    generation = GenerationConfig(special["sep_token_id"], special["pad_token_id"], **settings["generate"])

    @jax.jit
    def answer(params: Any) -> jax.Array:
        model = Functional(config).bind(params)
        encoded = model(blip["inputs/image"].transpose(0, 2, 3, 1), questions, blip["inputs/question_mask"])
        return write_answers(model, encoded, special["bos_token_id"], generation).ids

    ids = np.asarray(answer(params))
    assert [" ".join(map(str, text)) for text in ids] == blip["outputs/generated"].tolist()


def word_by_word(read: Any, prompt: np.ndarray) -> np.ndarray:
    """The likeliest next word of the teacher-forced pass, again and again, until the end."""
    ids = np.pad(prompt, ((0, 0), (0, LENGTH - prompt.shape[1])))
    for position in range(prompt.shape[1], LENGTH):
        chosen = np.asarray(read(jnp.asarray(ids)))[:, position - 1].argmax(axis=-1)
        has_ended = (ids[:, 1:position] == GREEDY.eos_id).any(axis=1)
        ids[:, position] = np.where(has_ended, GREEDY.pad_id, chosen)
    return ids


@pytest.mark.slow
@pytest.mark.parametrize("trim", [None, CLOSING])
def test_answers_are_those_of_reading_word_by_word(trim: Any) -> None:
    tiny = tiny_blip("vqa")

    def encode(params: Any) -> Any:
        model = tiny.model.bind(params)
        return model, model(*tiny.batch, trim=trim)

    @jax.jit
    def write(params: Any) -> jax.Array:
        return write_answers(*encode(params), DEC, GREEDY, trim=trim, reads_padding=False).ids

    @jax.jit
    def read(ids: jax.Array) -> jax.Array:
        model, encoded = encode(tiny.params)
        logits = model.decode(encoded, ids[:, None], jnp.ones_like(ids)[:, None], trim=trim).logits["answer"]
        return logits[:, 0]

    np.testing.assert_array_equal(write(tiny.params), word_by_word(read, np.full((4, 1), DEC)))


@pytest.mark.parametrize("trim", [pytest.param(None, marks=pytest.mark.slow), CLOSING])
def test_captions_are_those_of_reading_word_by_word(trim: Any) -> None:
    tiny: TinyBlip = tiny_blip("caption")
    images, prompt = tiny.inputs["images"], np.tile([[DEC, 9, 11]], (4, 1))

    @jax.jit
    def write(params: Any) -> jax.Array:
        return write_captions(tiny.model.bind(params), images, jnp.asarray(prompt), GREEDY, trim=trim).ids

    @jax.jit
    def read(ids: jax.Array) -> jax.Array:
        return tiny.model.bind(tiny.params)(images, ids, jnp.ones_like(ids), trim=trim).logits["caption"]

    np.testing.assert_array_equal(write(tiny.params), word_by_word(read, prompt))


@pytest.mark.slow
def test_captions_with_beams_are_searched_as_published() -> None:
    tiny: TinyBlip = tiny_blip("caption")
    params = jax.tree.map(lambda leaf: 4 * leaf if leaf.ndim > 1 else leaf, tiny.params)
    images, prompt = jnp.asarray(tiny.inputs["images"]), np.tile([[DEC, 9, 11, 8]], (4, 1))
    beams = dataclasses.replace(GREEDY, num_beams=3, min_length=5, max_length=12)

    @jax.jit
    def write(params: Any) -> jax.Array:
        return write_captions(tiny.model.bind(params), images, jnp.asarray(prompt), beams).ids

    @jax.jit
    def read(image: jax.Array, ids: jax.Array) -> jax.Array:
        return tiny.model.bind(params)(image[None], ids, jnp.ones_like(ids)).logits["caption"][0]

    def next_logits(row: int, text: list[int]) -> np.ndarray:
        ids = np.pad(np.array([text]), ((0, 0), (0, beams.max_length - len(text))))
        return np.array(read(images[row], ids))[len(text) - 1]

    starts = prompt.tolist()
    expected = [classic_search(functools.partial(next_logits, row), starts[row], beams)[0] for row in range(4)]
    assert [without_end(ids, beams.eos_id) for ids in write(params)] == expected


def test_packed_questions_have_no_padding_to_read() -> None:
    tiny = tiny_blip("vqa")
    model = tiny.model.bind(tiny.params)
    encoded = jax.eval_shape(lambda: model(*tiny.batch))
    encoded.state["text"] = jax.eval_shape(lambda text: compact(text, 32, 10), encoded.state["text"])
    with pytest.raises(ConfigError, match="reads_padding=False"):
        write_answers(model, encoded, DEC, GREEDY)
