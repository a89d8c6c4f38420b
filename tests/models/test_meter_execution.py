"""One model, whatever the switches of its execution."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fresh_params import fresh_params
from tiny_run import decisive

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.trimming.gates import Trim


@pytest.fixture(scope="module")
def backbone(fresh_meter) -> Any:
    """The plain model with the same weights."""
    params = {name: part for name, part in fresh_meter.params.items() if name != "trimmers"}
    return dataclasses.replace(fresh_meter, params=params).with_config(trimming=None)


def test_all_gates_open_equals_the_plain_backbone(fresh_meter, backbone):
    expected, gated = backbone.run(), fresh_meter.run(Trim())
    np.testing.assert_allclose(gated.logits["vqa"], expected.logits["vqa"], atol=1e-6)
    np.testing.assert_allclose(gated.pooled, expected.pooled, atol=1e-6)
    np.testing.assert_array_equal(fresh_meter.run().logits["vqa"], expected.logits["vqa"])
    for name, gate in gated.record.opened().gates.items():
        jax.tree.map(np.testing.assert_array_equal, gated.record.gates[name], gate)


@pytest.fixture(scope="module")
def training_pass(tiny_meter, training_key) -> Any:
    """Logits, gates and gradients of a training pass (dropout and sampled gates), by execution switches.

    With as few layers as have one that does not trim before one that does, and two that trim.
    """
    full = tiny_meter.config
    parts = {"vision": 2, "text": 1, "fusion": 2}
    config = dataclasses.replace(
        full, **{part: dataclasses.replace(getattr(full, part), depth=depth) for part, depth in parts.items()}
    )
    params = fresh_params(config)
    params |= {"trimmers": decisive(params["trimmers"])}

    @functools.cache
    def run(scan: bool, remat: str) -> Any:
        model = Functional(dataclasses.replace(config, scan=scan, remat=remat))

        def loss(params: Any) -> Any:
            output = model.apply(params, *tiny_meter.batch, trim=Trim(offset=2.0), key=training_key)
            return jnp.mean(output.logits["vqa"] ** 2), (output.logits["vqa"], output.record.gates)

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["full", "dots"])
def test_scan_and_remat_change_no_number(training_pass, remat):
    (expected, (logits, gates)), gradients = training_pass(False, "none")
    (loss, (other_logits, other_gates)), other_gradients = training_pass(True, remat)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(other_logits, logits, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, other_gates, gates)
    # float32 sums in another order round in proportion to the result, and to the largest terms that cancel in it
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradients))
    for ours, theirs in zip(jax.tree.leaves(other_gradients), jax.tree.leaves(gradients), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=5e-6, atol=1e-6 * largest)


def test_bfloat16_follows_float32(fresh_meter):
    exact = fresh_meter.run(Trim())
    rounded = fresh_meter.with_config(dtype="bfloat16").run(Trim())
    assert rounded.state["text"].values.dtype == jnp.bfloat16
    assert rounded.logits["vqa"].dtype == jnp.float32
    spread = np.abs(exact.logits["vqa"]).max()
    np.testing.assert_allclose(rounded.logits["vqa"], exact.logits["vqa"], atol=0.03 * spread)


@pytest.fixture(scope="module")
def two_images(fresh_meter) -> Any:
    """The same model for two images: one more token type, a head for twice the features."""
    params, rng = fresh_meter.params, np.random.default_rng(1)
    kinds = rng.normal(size=(3, 32)).astype(np.float32)
    kernel = rng.normal(size=(128, 64)).astype(np.float32)
    dense = params["head"]["vqa"]["net"]["dense"] | {"kernel": kernel}
    net = params["head"]["vqa"]["net"] | {"dense": dense}
    tiny = dataclasses.replace(
        fresh_meter,
        params=params | {"type_embedding": {"embedding": kinds}, "head": {"vqa": {"net": net}}},
        images=rng.normal(size=(4, 2, 32, 32, 3)).astype(np.float32),
    )
    return tiny.with_config(images=2)


@pytest.mark.slow
def test_a_text_shared_by_two_images_gives_the_same_logits(two_images):
    shared = two_images.run()
    repeated = two_images.with_config(share_text=False).run()
    np.testing.assert_allclose(shared.logits["vqa"], repeated.logits["vqa"], atol=1e-6)
    assert shared.state["text"].values.shape[0] == 2 * len(two_images.ids)


@pytest.mark.slow
def test_an_offset_holds_for_all_images_of_an_example(two_images):
    offsets = jnp.asarray([1e3, -1e3, 1e3, -1e3])
    gates = two_images.run(Trim(offsets)).record.gates
    for run in ("image", "fusion"):
        last = np.asarray(gates[run, "image"].tokens[-1]).sum(axis=1).reshape(4, 2)
        assert (last[[0, 2]] > 1).all()
        assert (last[[1, 3]] == 1).all()


def test_inputs_that_do_not_fit_are_refused(fresh_meter, backbone):
    with pytest.raises(ConfigError, match="2 images per example, but the model takes 1"):
        fresh_meter.run(images=np.repeat(fresh_meter.images, 2, axis=1))
    with pytest.raises(ConfigError, match="texts of 39 tokens do not fit a position table for 38"):
        fresh_meter.run(ids=np.ones((4, 39), np.int32), mask=np.ones((4, 39), np.int32))
    with pytest.raises(ConfigError, match="33 x 32 pixels"):
        fresh_meter.run(images=np.zeros((4, 1, 33, 32, 3), np.float32))
    with pytest.raises(ConfigError, match="no trimmers"):
        backbone.run(Trim())
