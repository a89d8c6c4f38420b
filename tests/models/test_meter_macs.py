"""MACs: the published dense totals, XLA's own count, and what closed gates save."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smarttrim_jax.models.functional import Functional
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.models.meter import MeterConfig, meter_base
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import GateKey, Trim, TrimRecord

IMAGE = GateKey("image", "image")
NLVR2 = {"images": 2, "share_text": False, "heads": (HeadConfig("nlvr2", "classifier", 2),)}


def specs(config: MeterConfig) -> tuple[Any, ...]:
    size = config.vision.image_size
    params = jax.eval_shape(Functional(config).init, jax.random.key(0))
    text = jax.ShapeDtypeStruct((1, 50), jnp.int32)
    return params, jax.ShapeDtypeStruct((1, config.images, size, size, 3), jnp.float32), text, text


def dense_record(config: MeterConfig) -> TrimRecord:
    """The record of one example at full capacity, from shapes alone."""
    record = jax.eval_shape(lambda *inputs: Functional(config).apply(*inputs).record, *specs(config))
    return jax.tree.map(lambda leaf: jnp.ones(leaf.shape), record)


# GMACs counted by hand from the official sizes, texts of 50 tokens.
@pytest.mark.parametrize(
    ("image_size", "changes", "published"),
    [(288, {}, 54.3), (288, NLVR2, 108.7), (384, {}, 94.7), (576, {}, 228.3)],
)
def test_dense_totals_equal_the_published_ones(image_size, changes, published):
    config = meter_base(image_size, **changes)
    counted = Functional(config).macs(dense_record(config)).item() / 1e9
    np.testing.assert_allclose(counted, published, rtol=0.01)


def test_encoding_a_shared_text_once_saves_one_text_encoder():
    each, once = (meter_base(288, **NLVR2 | {"share_text": share}) for share in (False, True))
    saved = Functional(each).macs(dense_record(each)) - Functional(once).macs(dense_record(once))
    np.testing.assert_allclose(saved.item() / 1e9, 4.3, rtol=0.01)


@pytest.mark.parametrize("trimmed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_half_of_xlas_flops(trimmed):
    config = meter_base(384, trimming=TrimmingConfig() if trimmed else None)
    model, trim = Functional(config), Trim() if trimmed else None
    lowered = jax.jit(lambda *inputs: model.apply(*inputs, trim=trim).logits).lower(*specs(config))
    counted = model.macs(dense_record(config)).item()
    np.testing.assert_allclose(counted, lowered.cost_analysis()["flops"] / 2, rtol=0.03)


def test_a_closed_head_and_a_closed_token_save_their_share(tiny_meter):
    model, record = tiny_meter.model, tiny_meter.run().record.opened()
    image, width, head_width, tokens = record.gates["image", "image"], 32, 8, 17
    full = model.macs(record)

    def macs(**gates: jax.Array) -> jax.Array:
        changed = dataclasses.replace(image, **gates)
        return model.macs(dataclasses.replace(record, gates=record.gates | {IMAGE: changed}))

    one_head = full - macs(heads=image.heads.at[0, 0, 0].set(0))
    per_head = head_width * (4 * tokens * width + 2 * tokens * tokens)
    np.testing.assert_allclose(one_head, [per_head, 0, 0, 0], atol=1)

    one_token = full - macs(tokens=image.tokens.at[1, 0, 5].set(0))
    products = 2 * width * (tokens**2 - (tokens - 1) ** 2)
    trimmer = 32 * 8 + 2 * 8  # of the next layer, which meets a token less
    np.testing.assert_allclose(one_token, [4 * width**2 + products + 2 * width * 64 + trimmer, 0, 0, 0], atol=1)


def test_a_full_capacity_pass_does_not_pay_for_trimmers(tiny_meter):
    record = tiny_meter.run().record
    plain = Functional(dataclasses.replace(tiny_meter.config, trimming=None))
    np.testing.assert_array_equal(tiny_meter.model.macs(record, trimmed=False), plain.macs(record))
    assert (tiny_meter.model.macs(record) > plain.macs(record)).all()


def test_the_budget_is_of_the_mean_over_the_batch(tiny_meter):
    model, record = tiny_meter.model, tiny_meter.run(Trim(-5.0)).record
    macs, full = model.macs(record), model.macs(record.opened(), trimmed=False)
    np.testing.assert_array_equal(model.full_macs(record), full)
    ratio = model.macs_ratio(record)
    np.testing.assert_allclose(ratio, macs.sum() / full.sum(), rtol=1e-6)
    assert abs(ratio - jnp.mean(macs / full)) > 1e-4  # texts differ in length, so do the examples' full MACs
