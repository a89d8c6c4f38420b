"""Beam search as transformers 4.15 did it, one example in plain loops."""

from collections.abc import Callable

import numpy as np
from table_decoder import log_softmax

from smarttrim_jax.generation import GenerationConfig


def classic_search(
    next_logits: Callable[[list[int]], np.ndarray], prompt: list[int], config: GenerationConfig
) -> tuple[list[int], float]:
    """The text without its end, and its score."""
    running: list[tuple[float, list[int]]] = [(0.0, prompt)]
    ended: list[tuple[float, list[int]]] = []

    def keep(score: float, text: list[int]) -> None:
        ended.append((score / len(text) ** config.length_penalty, text))
        ended.sort(reverse=True)
        del ended[config.num_beams :]

    for length in range(len(prompt), config.max_length):
        continuations = []
        for score, text in running:
            gained = log_softmax(next_logits(text))
            if length < config.min_length:
                gained[config.eos_id] = -np.inf
            continuations += [(score + more, text, token) for token, more in enumerate(gained)]
        best = sorted(continuations, reverse=True)[: 2 * config.num_beams]
        for score, text, token in best[: config.num_beams]:
            if token == config.eos_id:
                keep(score, text)
        running = [(score, [*text, token]) for score, text, token in best if token != config.eos_id]
        running = running[: config.num_beams]
        if len(ended) == config.num_beams:
            attainable = best[0][0] / length**config.length_penalty
            if config.early_stopping or ended[-1][0] >= attainable:
                return ended[0][1], ended[0][0]
    for score, text in running:
        keep(score, text)
    return ended[0][1], ended[0][0]
