"""A model's stages: a pass in two parts, of which the first never trims."""

import dataclasses
from typing import Any

import chex
import jax
import pytest

from smarttrim_jax.models.segments import fold_prefix, fold_stages
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import GateKey
from smarttrim_jax.trimming.policies import RunTrimming

UNTRIMMED = RunTrimming(tokens=False, heads=False)


@pytest.mark.parametrize("trims", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_pass_in_two_parts_is_the_pass_in_one(
    tiny_meter: Any, closing: Any, training_key: Any, trims: bool
) -> None:
    # One image layer comes before the trimming; the text's encoder trims nothing at all.
    trimming = dataclasses.replace(tiny_meter.config.trimming, text=UNTRIMMED)
    trimmers = {name: leaf for name, leaf in tiny_meter.params["trimmers"].items() if name != "text"}
    params = tiny_meter.params | {"trimmers": trimmers}
    model, trim = tiny_meter.with_config(trimming=trimming).model, closing if trims else None

    @jax.jit
    def both(key: jax.Array) -> Any:
        meter, keys = model.bind(params), jax.random.split(key)
        whole = fold_stages(meter.stages, meter.start(*tiny_meter.batch, key=keys[0]), trim, keys[1])
        prefix = meter.prefix(*tiny_meter.batch, key=key)
        depths = {run: len(gates[run, run].tokens) for run, gates in prefix.gates.items()}
        assert depths == {"image": 1, "text": 2}
        parts = meter.finish(prefix, trim=trim, key=key)
        return whole, (parts.state, parts.record)

    whole, parts = both(training_key)
    chex.assert_trees_all_close(whole, parts, atol=1e-6)


def test_a_model_that_trims_from_its_first_layers_begins_with_its_embeddings(tiny_meter: Any) -> None:
    trimming = TrimmingConfig(image=RunTrimming(), text=RunTrimming(), policy=tiny_meter.config.trimming.policy)
    meter = tiny_meter.with_config(trimming=trimming)
    shapes = jax.eval_shape(meter.model.init, jax.random.key(0))
    prefix = jax.eval_shape(lambda params: meter.model.apply(params, *meter.batch, method="prefix"), shapes)
    assert prefix.gates == {"image": {}, "text": {}}


def test_layers_of_a_side_run_in_order_where_runs_follow_each_other(tiny_meter: Any) -> None:
    """As in a backbone of a user's own, whose second run also has a layer before its first trimmer."""

    @jax.jit
    def both() -> Any:
        meter = tiny_meter.model.bind(tiny_meter.params)
        image, text, *_ = meter.stages
        own = GateKey("image", "image")

        def again(layers: Any, state: Any, gates: Any, key: Any, **inputs: Any) -> Any:
            return image.compute(layers, state, {own: gates[GateKey("again", "image")]}, key, **inputs)

        stages = [image, dataclasses.replace(image, name="again", compute=again), text]
        start = meter.start(*tiny_meter.batch)
        prefix = fold_prefix(stages, start, None)
        assert prefix.gates.keys() == {"image", "text"}
        return fold_stages(stages, start, None, None), fold_stages(stages, prefix, None, None)

    whole, parts = both()
    chex.assert_trees_all_close(whole, parts, atol=1e-6)
