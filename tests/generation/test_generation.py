"""Greedy search, beam search and sampling keep their promises on tables small enough to enumerate."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table_decoder import EOS, FOUR_PROMPTS, PAD, log_softmax, random_table, without_end

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.generation import GenerationConfig, beam_search, generate, greedy_search

CONFIG = GenerationConfig(eos_id=EOS, pad_id=PAD, max_length=10)
WAYS = {
    "greedy": CONFIG,
    "beams": dataclasses.replace(CONFIG, num_beams=3, repetition_penalty=1.2),
    "sampling": dataclasses.replace(CONFIG, sample=True, temperature=1.3, top_p=0.8),
}


@pytest.mark.parametrize("early_stopping", [True, False, "never"])
@pytest.mark.parametrize("length_penalty", [-0.5, 1.0])
def test_with_a_beam_for_every_text_the_best_of_all_is_found(early_stopping: Any, length_penalty: float) -> None:
    decoder, start = random_table(3, vocabulary=4), 3
    texts: dict[tuple[int, ...], float] = {}

    def grow(text: tuple[int, ...], score: float) -> None:
        for token, gained in enumerate(log_softmax(decoder.logits((0, *text)[-2], text[-1], len(text) - 1))):
            longer, total = (*text, token), score + gained
            if token == EOS or len(longer) == 5:
                texts[longer] = total / (len(longer) - 1) ** length_penalty
            else:
                grow(longer, total)

    grow((start,), 0.0)
    config = GenerationConfig(
        EOS, PAD, max_length=5, num_beams=128, length_penalty=length_penalty, early_stopping=early_stopping
    )
    found, best = decoder.run([[start]], config), max(texts, key=texts.__getitem__)
    np.testing.assert_array_equal(found.ids[0], [*best, *[PAD] * (5 - len(best))])
    np.testing.assert_allclose(found.scores[0], texts[best], rtol=1e-5)


def test_greedy_search_is_a_plain_loop() -> None:
    decoder, prompt = random_table(0, eos_bonus=1.0), [3, 4, 5]
    text = list(prompt)
    while len(text) < CONFIG.max_length and text[-1] != EOS:
        logits = decoder.logits(text[-2], text[-1], len(text) - 1)
        logits[EOS] = -np.inf if len(text) < 7 else logits[EOS]
        text.append(int(np.argmax(logits)))
    found = decoder.run([prompt], dataclasses.replace(CONFIG, min_length=7))
    np.testing.assert_array_equal(found.ids[0], text + [PAD] * (CONFIG.max_length - len(text)))


def test_one_beam_that_stops_at_its_first_end_is_greedy() -> None:
    config = dataclasses.replace(CONFIG, early_stopping=True, min_length=4)
    decoder = random_table(1, eos_bonus=1.0)

    def step(before: jax.Array, ids: jax.Array, position: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.asarray(decoder.table)[before, ids], ids

    start = step, jnp.zeros(4, jnp.int32), jnp.asarray(FOUR_PROMPTS), config
    greedy, beams = greedy_search(*start), beam_search(*start)
    np.testing.assert_array_equal(greedy.ids, beams.ids)
    np.testing.assert_allclose(greedy.scores, beams.scores, rtol=1e-5)


@pytest.mark.parametrize("narrow", [{"top_p": 1e-6}, {"top_k": 1}, {"temperature": 1e-4}], ids=str)
def test_sampling_from_a_single_token_is_greedy(narrow: dict[str, float]) -> None:
    decoder = random_table(2)
    sampled = decoder.run(
        FOUR_PROMPTS, dataclasses.replace(CONFIG, sample=True, **narrow), jax.random.split(jax.random.key(0), 4)
    )
    greedy = decoder.run(FOUR_PROMPTS, CONFIG)
    np.testing.assert_array_equal(sampled.ids, greedy.ids)
    np.testing.assert_allclose(sampled.scores, greedy.scores, rtol=1e-6)


def test_sampled_frequencies_follow_the_truncated_distribution() -> None:
    draws, decoder = 4000, random_table(5)
    config = GenerationConfig(EOS, PAD, max_length=3, sample=True, temperature=1.5, top_k=8, top_p=0.75)
    found = decoder.run(np.repeat([[3, 4]], draws, axis=0), config, jax.random.split(jax.random.key(1), draws))
    frequencies = np.bincount(np.asarray(found.ids[:, 2]), minlength=13) / draws

    probabilities = np.exp(log_softmax(decoder.logits(3, 4, 1) / 1.5))
    likely = np.argsort(-probabilities)[:8]
    among_likely = probabilities[likely] / probabilities[likely].sum()
    nucleus = likely[: int(np.searchsorted(np.cumsum(among_likely), 0.75)) + 1]
    expected = np.zeros(13)
    expected[nucleus] = probabilities[nucleus] / probabilities[nucleus].sum()
    assert 2 < len(nucleus) < 8
    assert (frequencies[expected == 0] == 0).all()
    np.testing.assert_array_less(np.abs(frequencies - expected), 4 * np.sqrt(expected / draws) + 1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_neighbours_do_not_matter(way: str) -> None:
    decoder, keys = random_table(4, eos_bonus=1.0), jax.random.split(jax.random.key(2), 4)
    together = decoder.run(FOUR_PROMPTS, WAYS[way], keys)
    backwards = decoder.run(FOUR_PROMPTS[::-1], WAYS[way], keys[::-1])
    alone = [decoder.run(FOUR_PROMPTS[row, None], WAYS[way], keys[row, None]) for row in range(4)]
    ends = [without_end(ids) for ids in together.ids]
    assert len({len(text) for text in ends}) > 1
    for row in range(4):
        np.testing.assert_array_equal(together.ids[row], backwards.ids[3 - row])
        np.testing.assert_array_equal(together.ids[row], alone[row].ids[0])
        np.testing.assert_array_equal(together.scores[row], alone[row].scores[0])


@pytest.mark.parametrize("way", WAYS)
def test_texts_end_within_the_lengths_and_padding_follows(way: str) -> None:
    config = dataclasses.replace(WAYS[way], min_length=5)
    keys = jax.random.split(jax.random.key(3), 4)
    for ids in np.asarray(random_table(6, eos_bonus=8.0).run(FOUR_PROMPTS, config, keys).ids):
        assert ids[:5].tolist().count(EOS) == 0
        end = ids.tolist().index(EOS)
        assert (ids[end + 1 :] == PAD).all()


@pytest.mark.parametrize("way", WAYS)
def test_stops_as_soon_as_everything_has_ended(way: str) -> None:
    config, table = dataclasses.replace(WAYS[way], max_length=50), jnp.asarray(random_table(6, eos_bonus=20.0).table)
    positions: list[int] = []

    def step(before: jax.Array, ids: jax.Array, position: jax.Array) -> tuple[jax.Array, jax.Array]:
        jax.debug.callback(lambda position: positions.append(int(position)), position)
        return table[before, ids], ids

    prompt, keys = jnp.asarray(FOUR_PROMPTS), jax.random.split(jax.random.key(4), 4)
    jax.block_until_ready(generate(step, jnp.zeros(4, jnp.int32), prompt, config, keys))
    jax.effects_barrier()
    assert 2 <= len(positions) <= 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_beams": 0}, "num_beams is 0"),
        ({"min_length": 11}, "at most max_length, 10"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"repetition_penalty": -1.0}, "repetition_penalty is -1.0"),
        ({"early_stopping": "always"}, "'never'"),
        ({"early_stopping": "never", "classic": True}, "True or False where classic is True"),
        ({"sample": True, "num_beams": 2}, "1 where sample is True"),
        ({"eos_id": -1}, "eos_id is -1"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_inputs_that_do_not_fit_are_refused() -> None:
    decoder, sampling = random_table(0), dataclasses.replace(CONFIG, sample=True)
    with pytest.raises(ConfigError, match="prompt of 10 tokens"):
        decoder.run([[3] * 10], CONFIG)
    with pytest.raises(ConfigError, match="vocabulary has 13"):
        decoder.run(FOUR_PROMPTS, dataclasses.replace(CONFIG, eos_id=13))
    with pytest.raises(ConfigError, match="pass keys"):
        decoder.run(FOUR_PROMPTS, sampling)
    with pytest.raises(ConfigError, match="each of 4 examples"):
        decoder.run(FOUR_PROMPTS, sampling, jax.random.split(jax.random.key(0), 3))
