"""The backward pass of METER: it reaches every trimmer, and is finite whatever is closed."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from smarttrim_jax.trimming.gates import Trim

pytestmark = pytest.mark.slow  # the toy backbone and a task's step ask the same of smaller programs


@pytest.fixture(scope="module")
def backward(fresh_meter: Any, training_key: jax.Array) -> Any:
    """Gradient of a weighted sum of loss and MACs in a training pass, and the pass; by dtype."""

    @functools.cache
    def compile(dtype: str) -> Any:
        # Without dropout, which takes long to compile and asks nothing of a backbone.
        parts = {
            side: dataclasses.replace(getattr(fresh_meter.config, side), dropout=0.0) for side in ("text", "fusion")
        }
        tiny = fresh_meter.with_config(dtype=dtype, scan=True, **parts)

        def loss(params: Any, trim: Trim, task: float, cost: float) -> Any:
            output = tiny.model.apply(params, *tiny.batch, trim=trim, key=training_key)
            wrong = -jax.nn.log_softmax(output.logits["vqa"])[:, 0].mean()
            return task * wrong + cost * jnp.mean(tiny.model.macs(output.record)), output

        return jax.jit(lambda *given: jax.grad(loss, has_aux=True)(tiny.params, *given))

    return lambda dtype, offset, **weights: compile(dtype)(Trim(jnp.float32(offset)), *weights.values())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_with_all_but_the_global_tokens_closed_nothing_is_nan(backward, fresh_meter, dtype):
    gradients, output = backward(dtype, -1e3, task=1.0, cost=1.0)
    evaluated = fresh_meter.with_config(dtype=dtype).run(Trim(offset=-1e3))
    for record in (output.record, evaluated.record):
        assert (record.gates["fusion", "image"].tokens.sum(-1) == 1).all()
        assert (record.gates["fusion", "text"].cross_heads == 0).all()
        assert (record.gates["image", "image"].heads[1:] == 0).all()
    for leaf in jax.tree.leaves((gradients, output.logits, evaluated.logits, evaluated.state["text"].values)):
        assert np.isfinite(np.asarray(leaf, np.float32)).all()


@pytest.mark.parametrize(("task", "cost"), [(1.0, 0.0), (0.0, 1.0)])
def test_gradients_reach_every_trimmer_parameter(backward, task, cost):
    gradients, _ = backward("float32", 0.0, task=task, cost=cost)
    leaves = flatten_dict(gradients["trimmers"], sep="/")
    norms = {path: np.linalg.norm(leaf.reshape(len(leaf), -1), axis=1) for path, leaf in leaves.items()}
    assert all(np.isfinite(norm).all() for norm in norms.values())
    assert [path for path, norm in norms.items() if not (norm > 0).all()] == []
