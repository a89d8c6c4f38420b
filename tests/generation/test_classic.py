"""Beam search by the rules of transformers 4.15, with which BLIP was published."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from classic_search import classic_search
from table_decoder import EOS, PAD, random_table, without_end

from smarttrim_jax.generation import GenerationConfig

CLASSIC = GenerationConfig(eos_id=EOS, pad_id=PAD, max_length=10, num_beams=3, classic=True)
PROMPTS = [[[3], [4], [5], [12]], [[3, 4, 5, 6], [7, 8, 9, 3], [8, 8, 4, 5], [11, 10, 9, 4]]]


def texts(prompts: list[list[int]], config: GenerationConfig) -> Any:
    """What we find and what plain loops find, text by text, on tables of which some texts end late."""
    for seed, eos_bonus in itertools.product(range(4), (-1.0, 1.5, 3.0)):
        decoder = random_table(seed, eos_bonus=eos_bonus)
        ours = decoder.run(prompts, config)
        for row, prompt in enumerate(prompts):

            def next_logits(text: list[int], decoder: Any = decoder) -> np.ndarray:
                return decoder.logits([0, *text][-2], text[-1], len(text) - 1)

            yield ours.ids[row], ours.scores[row], *classic_search(next_logits, prompt, config)


@pytest.mark.parametrize("prompts", PROMPTS, ids=["one token", "four tokens"])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("length_penalty", [1.0, -0.5])
def test_classic_texts_and_scores(prompts: Any, early_stopping: bool, length_penalty: float) -> None:
    config = dataclasses.replace(
        CLASSIC, early_stopping=early_stopping, length_penalty=length_penalty, min_length=5 * early_stopping
    )
    ends = set()
    for ids, score, expected, expected_score in texts(prompts, config):
        assert without_end(ids) == expected
        np.testing.assert_allclose(score, expected_score, rtol=1e-5)
        ends.add(len(expected))
    assert len(ends) > 3


def test_present_rules_choose_other_texts_where_there_is_a_length_penalty() -> None:
    for length_penalty in (0.0, 1.0):
        present = dataclasses.replace(CLASSIC, classic=False, length_penalty=length_penalty)
        differ = sum(without_end(ids) != expected for ids, _, expected, _ in texts(PROMPTS[1], present))
        assert (differ > 2) == (length_penalty > 0)
