"""The one adaptive program gives what padded execution gives, from every branch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smarttrim_jax.inference.adaptive import AdaptiveConfig, adaptive_apply
from smarttrim_jax.trimming.gates import Trim


@pytest.mark.parametrize("rows", [[2], [0, 1, 2, 3]])
def test_equals_the_padded_execution_at_every_turn_of_the_dial(tiny_meter, rows):
    config = AdaptiveConfig(shares=(0.3, 0.6), multiple=4)
    adaptive = jax.jit(functools.partial(adaptive_apply, tiny_meter.model, config))
    batch = [part[rows] for part in tiny_meter.batch]
    kept = []
    for offset in (1e3, -2.5, -4.0, -1e3):
        trim = Trim(offset=jnp.float32(offset))
        expected, output = tiny_meter.run(trim), adaptive(tiny_meter.params, *batch, trim)
        np.testing.assert_allclose(output.logits["vqa"], expected.logits["vqa"][jnp.array(rows)], atol=1e-5)
        for name, gates in expected.record.gates.items():
            np.testing.assert_array_equal(output.record.gates[name].tokens, gates.tokens[:, jnp.array(rows)])
        kept.append(float(output.record.gates["image"].tokens[-1].mean()))
    assert kept[0] == 1.0  # the dial has led through the largest branch and the smallest
    assert kept[-1] < 0.1
