"""A decoder without weights: a table of logits for every two last tokens."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from smarttrim_jax.generation import Generated, GenerationConfig, generate

EOS, PAD = 2, 1


@dataclasses.dataclass(frozen=True)
class TableDecoder:
    """The next token depends on the last two, of which the cache holds one; before the first token lies token 0."""

    table: np.ndarray

    def logits(self, before: Any, token: Any, position: Any) -> Any:
        """In any array library; sharper from position to position, or texts of the same pairs would tie."""
        return self.table[before, token] * (1 + position / 64)

    def run(self, prompt: Any, config: GenerationConfig, keys: jax.Array | None = None) -> Generated:
        return compiled(config)(self.table, jnp.asarray(prompt), keys)


@functools.cache
def compiled(config: GenerationConfig) -> Any:
    @jax.jit
    def run(table: jax.Array, prompt: jax.Array, keys: jax.Array | None) -> Generated:
        def step(before: jax.Array, ids: jax.Array, position: jax.Array) -> tuple[jax.Array, jax.Array]:
            return TableDecoder(table).logits(before, ids, position), ids

        return generate(step, jnp.zeros(len(prompt), jnp.int32), prompt, config, keys)

    return run


def random_table(seed: int, vocabulary: int = 13, *, eos_bonus: float = 0.0) -> TableDecoder:
    """Random logits; `eos_bonus` says how soon texts end."""
    table = np.random.default_rng(seed).normal(size=(vocabulary,) * 3, scale=1.5).astype(np.float32)
    table[..., EOS] += eos_bonus
    return TableDecoder(table)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum())


def without_end(ids: Any, eos_id: int = EOS) -> list[int]:
    tokens = np.asarray(ids).tolist()
    return tokens[: tokens.index(eos_id)] if eos_id in tokens else tokens


FOUR_PROMPTS = np.array([[3, 4], [5, 6], [7, 3], [12, 9]])
"""Two tokens each, none of them special."""
