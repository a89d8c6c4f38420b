"""flax's own tools work on every model, and leave it as it was."""

from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from tiny_blip import TASKS, fresh_blip

from smarttrim_jax.trimming.gates import Trim


def first_logits(output: Any) -> Any:
    return next(iter(output.result.values()))


@pytest.fixture(params=["meter", *(pytest.param(task, marks=pytest.mark.slow) for task in TASKS)], scope="module")
def case(request: Any, fresh_meter: Any) -> tuple[Any, tuple[Any, ...]]:
    tiny = fresh_meter if request.param == "meter" else fresh_blip(request.param)
    return tiny.model.bind(tiny.params), tuple(map(np.asarray, tiny.batch))


@pytest.mark.slow
def test_a_table_of_a_model_can_be_printed_and_later_calls_work(case: Any) -> None:
    model, batch = case
    table = nnx.tabulate(model, *batch, trim=Trim(), key=jax.random.key(0))
    assert "trimmers" in table
    assert "PreNormLayer" in table
    output = jax.eval_shape(lambda *batch: first_logits(model(*batch, trim=Trim())), *batch)
    assert output.shape[0] == len(batch[1])


def test_a_model_can_be_shown_cloned_and_mapped_over(case: Any) -> None:
    model, batch = case
    nnx.display(model)
    graphdef, state = nnx.split(nnx.clone(model))
    twice = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), state)

    def apply(state: Any) -> Any:
        return first_logits(nnx.merge(graphdef, state)(*batch))

    output = jax.eval_shape(jax.vmap(apply), twice)
    assert output.shape[:2] == (2, len(batch[1]))


def test_a_model_is_a_linen_module(case: Any) -> None:
    model, batch = case
    linen = nnx.bridge.to_linen(type(model), model.config)
    variables = jax.eval_shape(linen.init, jax.random.key(0), *batch)
    output = jax.eval_shape(linen.apply, variables, *batch)
    assert first_logits(output).shape[0] == len(batch[1])


def test_what_runs_on_its_own_can_be_printed_too() -> None:
    tiny = fresh_blip("retrieval")
    model = tiny.model.bind(tiny.params)
    wide = {"console_kwargs": {"width": 300}}
    assert "image_projection" in nnx.tabulate(model, tiny.inputs["images"], method="encode_images", **wide)
    texts = tiny.inputs["ids"], tiny.inputs["mask"]
    assert "text_projection" in nnx.tabulate(model, *texts, method="encode_texts", **wide)
