"""BLIP's backward pass in half precision; in float32 it is in the steps of tests/tasks/test_tasks.py."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_blip import assert_nearly_all_closed, forward, fresh_blip

from smarttrim_jax.trimming.gates import Trim


@pytest.mark.slow
def test_with_all_but_the_global_tokens_closed_no_gradient_is_nan_in_bfloat16(training_key):
    fresh = fresh_blip("vqa")  # the task with every kind of layer
    # Without dropout, which takes long to compile and asks nothing of a backbone.
    text = dataclasses.replace(fresh.config.text, dropout=0.0)
    tiny = fresh.with_config(dtype="bfloat16", scan=True, text=text)

    def losses(params: Any, trim: Trim) -> Any:
        output = forward(tiny.model, params, tiny.inputs, trim, training_key)
        weighted = (jnp.sin(jnp.arange(part.size)) @ part.reshape(-1) for part in output.logits.values())
        return sum(weighted) + jnp.mean(tiny.model.macs(output.record)), output

    gradients, output = jax.jit(jax.grad(losses, has_aux=True))(tiny.params, Trim(offset=jnp.float32(-1e3)))
    assert_nearly_all_closed(output.record)
    for leaf in jax.tree.leaves((gradients, output.logits)):
        assert np.isfinite(np.asarray(leaf, np.float32)).all()
