"""Packed execution gives what padded execution gives under random gates, for batches and models of many kinds."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fresh_params import fresh_params
from packed_output import COARSE, same
from random_tables import random_tables

from smarttrim_jax.benchmarking.forced_load import forced_model
from smarttrim_jax.execution import PackedExecutor
from smarttrim_jax.tokens import Packed
from smarttrim_jax.trimming.gates import GateKey, Trim


@pytest.mark.parametrize(
    ("batch", "images", "rule", "dtype"),
    [
        (1, 1, "roberta", "float32"),
        pytest.param(3, 2, "bert", "float32", marks=pytest.mark.slow),
        pytest.param(16, 1, "bert", "bfloat16", marks=pytest.mark.slow),
        pytest.param(64, 1, "roberta", "float32", marks=pytest.mark.slow),
    ],
)
def test_equals_the_padded_execution_under_random_gates(tiny_meter, batch, images, rule, dtype):
    random = np.random.default_rng(batch)
    config = tiny_meter.config
    vision = dataclasses.replace(config.vision, depth=2)
    text = dataclasses.replace(config.text, position_rule=rule, pad_id=1)
    config = dataclasses.replace(config, vision=vision, text=text, images=images, dtype=dtype)
    mask = (np.arange(10) < random.integers(1, 11, (batch, 1))).astype(np.int32)
    ids = np.where(mask, random.integers(3, 50, mask.shape), 1)
    inputs = (random.normal(size=(batch, images, 32, 32, 3)).astype(np.float32), ids, mask)
    tables = {
        GateKey("image", "image"): random_tables(random, (0.7,), batch * images, 17),
        GateKey("text", "text"): random_tables(random, (0.7,), batch, 10),
        GateKey("fusion", "image"): random_tables(random, (0.7, 0.5), batch * images, 17),
        GateKey("fusion", "text"): random_tables(random, (0.7, 0.5), batch * images, 10),
    }
    closed_heads = {
        key: jnp.asarray(random.integers(0, 2, (*table.shape[:2], 4)), jnp.float32) for key, table in tables.items()
    }
    model, params = forced_model(config, fresh_params(config), tokens=tables, heads=closed_heads)
    padded = jax.jit(model.apply)(params, *inputs, trim=Trim())
    packed = PackedExecutor(model, params, COARSE)(*inputs, trim=Trim())
    assert isinstance(packed.state["image"], Packed) or batch == 1
    same(packed, padded, atol=1e-5 if dtype == "float32" else 5e-2)
