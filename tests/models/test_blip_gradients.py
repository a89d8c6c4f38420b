"""The backward pass of BLIP's tasks: it reaches every trimmer, and is finite whatever is closed."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from tiny_blip import TASKS, assert_nearly_all_closed, forward, fresh_blip

from smarttrim_jax.trimming.cost import macs_ratio
from smarttrim_jax.trimming.gates import Trim


@pytest.fixture(scope="module")
def backward(training_key) -> Any:
    """Gradients of the outputs and of the MACs in a training pass, `[2, ...]`, and the pass; by task and dtype."""

    @functools.cache
    def compile(task: str, dtype: str) -> Any:
        fresh = fresh_blip(task)
        # Without dropout, which takes long to compile and asks nothing of a backbone.
        text = dataclasses.replace(fresh.config.text, dropout=0.0)
        tiny = fresh.with_config(dtype=dtype, scan=True, text=text)
        model = tiny.model

        def losses(params: Any, trim: Trim) -> Any:
            output = forward(model, params, tiny.inputs, trim, training_key)
            weighted = (jnp.sin(jnp.arange(part.size)) @ part.reshape(-1) for part in output.logits.values())
            ratio = macs_ratio(model.macs(output.record), model.macs(output.record.opened(), trimmed=False))
            return jnp.stack([sum(weighted), ratio]), output

        return jax.jit(lambda trim: jax.jacrev(losses, has_aux=True)(tiny.params, trim))

    return lambda task, dtype, trim: compile(task, dtype)(jax.tree.map(jnp.float32, trim))


# bfloat16, which takes long to compile, for the task with every kind of layer.
@pytest.mark.parametrize(("task", "dtype"), [*((task, "float32") for task in TASKS), ("vqa", "bfloat16")])
def test_with_all_but_the_global_tokens_closed_no_gradient_is_nan(backward, task, dtype):
    gradients, output = backward(task, dtype, Trim(offset=-1e3))
    assert_nearly_all_closed(output.record)
    for leaf in jax.tree.leaves((gradients, output.logits)):
        assert np.isfinite(np.asarray(leaf, np.float32)).all()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("objective", [0, 1], ids=["task", "cost"])
def test_gradients_reach_every_trimmer_parameter(backward, task, objective):
    gradients, _ = backward(task, "float32", Trim())
    leaves = flatten_dict(gradients["trimmers"], sep="/")
    norms = {
        path: np.linalg.norm(leaf[objective].reshape(leaf.shape[1], -1), axis=1) for path, leaf in leaves.items()
    }
    assert all(np.isfinite(norm).all() for norm in norms.values())
    assert [path for path, norm in norms.items() if not (norm > 0).all()] == []
