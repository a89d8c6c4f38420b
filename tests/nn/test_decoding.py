"""Decoding one position at a time equals the whole text at once."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.nn.decoding import CachedDecoder
from smarttrim_jax.nn.layer_stack import stack, unstack
from smarttrim_jax.nn.layers import PostNormLayer
from smarttrim_jax.nn.text import TextConfig, TextTransformer
from smarttrim_jax.tokens import Padded, Tokens, compact

DEPTH, BATCH, LENGTH, HEADS, WIDTH, PLACES = 3, 4, 6, 4, 16, 9


class ToyDecoder(nnx.Module):
    """Three layers that read a source, a text embedding of either position rule, and a tied head."""

    def __init__(self, position_rule: Any, rngs: nnx.Rngs):
        config = TextConfig(
            20, WIDTH, 1, HEADS, 32, max_positions=12, position_rule=position_rule, pad_id=1, token_types=2
        )
        self.text = TextTransformer(config, dtype=jnp.float32, rngs=rngs)
        self.layers = stack(
            lambda rngs: PostNormLayer(
                WIDTH,
                HEADS,
                32,
                epsilon=1e-5,
                dropout_rate=0.1,
                cross_attention=True,
                dtype=jnp.float32,
                rngs=rngs,
            ),
            DEPTH,
            rngs,
        )

    def head(self, x: jax.Array) -> jax.Array:
        return self.text.word_embedding.attend(x)


@dataclasses.dataclass(frozen=True)
class Case:
    """A decoder, texts of several rows an example, and a source and heads of which many are closed."""

    decoder: ToyDecoder
    ids: np.ndarray
    source: Padded
    head_gate: jax.Array
    cross_head_gate: jax.Array

    @property
    def rows(self) -> int:
        return len(self.ids) // BATCH

    def at_once(self) -> np.ndarray:
        """The logits of every position, each layer's output computed from the layer's inputs up to there."""
        graphdef, params = nnx.split(self.decoder.layers)
        source = self.source.repeat(self.rows)
        x = self.decoder.text.embed(self.ids, np.ones_like(self.ids)).values
        for index, layer_params in enumerate(unstack(params)):
            layer = nnx.merge(graphdef, layer_params)
            gates = (jnp.repeat(gate[index], self.rows, axis=0) for gate in (self.head_gate, self.cross_head_gate))
            own, cross = gates

            def up_to(position: int, x=x, layer=layer, own=own, cross=cross) -> jax.Array:
                gate = jnp.broadcast_to(jnp.arange(LENGTH) <= position, self.ids.shape).astype(jnp.float32)
                return layer(Padded(x, gate), source, head_gate=own, cross_head_gate=cross).values[:, position]

            x = jnp.stack([up_to(position) for position in range(LENGTH)], axis=1)
        return np.asarray(self.decoder.head(x))

    def step_by_step(self, source: Tokens | None = None) -> np.ndarray:
        """The logits of every position, each from the cache of those before."""
        graphdef, params = nnx.split(self.decoder)

        @jax.jit
        def run(params: Any, source: Tokens) -> jax.Array:
            decoder = nnx.merge(graphdef, params)
            cached = CachedDecoder(
                decoder.text,
                decoder.layers,
                decoder.head,
                source=source,
                head_gate=self.head_gate,
                cross_head_gate=self.cross_head_gate,
            )

            def advance(cache: Any, inputs: Any) -> tuple[Any, jax.Array]:
                logits, cache = cached.step(cache, *inputs)
                return cache, logits

            start = cached.start(len(self.ids), LENGTH)
            return jax.lax.scan(advance, start, (jnp.asarray(self.ids.T), jnp.arange(LENGTH)))[1]

        return np.asarray(run(params, self.source if source is None else source)).swapaxes(0, 1)


def make(rows: int, position_rule: str = "bert") -> Case:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(BATCH, PLACES, WIDTH)).astype(np.float32)
    gate = (rng.random((BATCH, PLACES)) < 0.5).astype(np.float32)
    gate[:, 0] = 1
    gates = (rng.random((2, DEPTH, BATCH, HEADS)) < 0.6).astype(np.float32)
    return Case(
        ToyDecoder(position_rule, nnx.Rngs(0)),
        rng.integers(2, 20, (rows * BATCH, LENGTH)).astype(np.int32),
        Padded(jnp.asarray(values), jnp.asarray(gate)),
        *(jnp.asarray(part) for part in gates),
    )


@pytest.fixture(scope="module")
def case() -> Case:
    """Two rows an example."""
    return make(2)


@pytest.fixture(scope="module")
def at_once(case: Case) -> np.ndarray:
    return case.at_once()


def test_cached_steps_equal_the_whole_text_at_once(case: Case, at_once: np.ndarray) -> None:
    np.testing.assert_allclose(case.step_by_step(), at_once, atol=1e-5)


@pytest.mark.slow
def test_one_row_an_example_with_robertas_positions() -> None:
    case = make(1, "roberta")
    np.testing.assert_allclose(case.step_by_step(), case.at_once(), atol=1e-5)


@pytest.mark.slow
def test_a_packed_source_gives_the_same(case: Case, at_once: np.ndarray) -> None:
    line = int(case.source.counts.sum()) + 3
    packed = compact(case.source, line, int(case.source.counts.max()) + 1)
    np.testing.assert_allclose(case.step_by_step(packed), at_once, atol=1e-5)


def test_closed_source_tokens_do_not_matter(case: Case, at_once: np.ndarray) -> None:
    closed = case.source.gate[..., None] == 0
    disturbed = case.source.replace(jnp.where(closed, 1e4, case.source.values))
    np.testing.assert_array_equal(case.step_by_step(disturbed), case.step_by_step())


def test_closed_heads_matter(case: Case, at_once: np.ndarray) -> None:
    for name in ("head_gate", "cross_head_gate"):
        opened = dataclasses.replace(case, **{name: jnp.ones_like(case.head_gate)})
        assert np.abs(opened.step_by_step() - at_once).max() > 1e-3


def test_a_text_longer_than_the_position_table_is_refused(case: Case) -> None:
    decoder = CachedDecoder(case.decoder.text, case.decoder.layers, case.decoder.head)
    with pytest.raises(ConfigError, match="lower max_length"):
        decoder.start(2, 13)
