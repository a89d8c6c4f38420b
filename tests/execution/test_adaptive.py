"""The one adaptive program gives what padded execution gives, from every branch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarttrim_jax.execution.adaptive import AdaptiveConfig, _sizes, adaptive_apply
from smarttrim_jax.tokens import Padded
from smarttrim_jax.trimming.gates import Trim


@pytest.mark.parametrize("rows", [pytest.param([2], marks=pytest.mark.slow), [0, 1, 2, 3]])
def test_equals_the_padded_execution_at_every_turn_of_the_dial(tiny_meter, rows):
    config = AdaptiveConfig(shares=(0.3, 0.6) if len(rows) == 1 else (0.5,), multiple=4)
    adaptive = jax.jit(functools.partial(adaptive_apply, tiny_meter.model, config))
    batch = [part[rows] for part in tiny_meter.batch]
    kept = []
    for offset in (1e3, -2.5, -4.0, -1e3):
        trim = Trim(offset=jnp.float32(offset))
        expected, output = tiny_meter.run(trim), adaptive(tiny_meter.params, *batch, trim)
        np.testing.assert_allclose(output.logits["vqa"], expected.logits["vqa"][jnp.array(rows)], atol=1e-5)
        for name, gates in expected.record.gates.items():
            np.testing.assert_array_equal(output.record.gates[name].tokens, gates.tokens[:, jnp.array(rows)])
        kept.append(float(output.record.gates["image", "image"].tokens[-1].mean()))
    assert kept[0] == 1.0  # the dial has led through the largest branch and the smallest
    assert kept[-1] < 0.1


@given(
    st.integers(1, 4),
    st.integers(1, 12),
    st.lists(st.floats(0.01, 1.0), max_size=6),
    st.floats(1.0, 3.0),
    st.sampled_from([1, 4, 8, 128]),
)
def test_branches_of_any_size_hold_a_token_of_every_example_and_the_last_all(
    batch, length, shares, longest, multiple
):
    tokens = Padded(np.zeros((batch, length, 1), np.float32), np.ones((batch, length), np.float32))
    config = AdaptiveConfig(shares=tuple(shares), longest=longest, multiple=multiple)
    sizes = _sizes(tokens, config)
    assert sizes == sorted(set(sizes))
    assert all(line >= batch and places >= 1 for line, places in sizes)
    assert sizes[-1] == (batch * length, length)


@pytest.mark.parametrize(("rows", "length"), [(1, 5), (2, 3), (1, 3)])
def test_texts_of_a_few_tokens_lower_for_every_platform(tiny_meter, rows, length):
    images, ids, mask = (part[:rows] for part in tiny_meter.batch)
    adaptive = jax.jit(functools.partial(adaptive_apply, tiny_meter.model, AdaptiveConfig(), tiny_meter.params))
    exported = jax.export.export(adaptive, platforms=("cpu", "cuda", "tpu"))
    assert exported(images[..., :8, :8, :], ids[:, :length], mask[:, :length], Trim()).serialize
