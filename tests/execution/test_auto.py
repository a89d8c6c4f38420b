"""The execution of a batch is chosen by measured times, or by the model's size and the device."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packed_output import COARSE, same

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.execution import ExecutionConfig, auto
from smarttrim_jax.execution.auto import EXECUTORS, AutoExecutor, make_executor
from smarttrim_jax.execution.timings import ExecutionTimings, Timing
from smarttrim_jax.models.functional import Functional

HERE = jax.devices()[0].device_kind
NAMES = list(EXECUTORS)

timings = st.builds(
    Timing, st.sampled_from([HERE, "another"]), st.integers(1, 512), st.sampled_from(NAMES), st.floats(1e-4, 10)
)


@given(st.lists(timings, max_size=12), st.integers(1, 1024))
def test_the_fastest_at_the_nearest_batch_size_of_this_device_is_chosen(rows, batch_size):
    fastest = ExecutionTimings(tuple(rows)).fastest(HERE, batch_size)
    own = [row for row in rows if row.device == HERE]
    assert (fastest is None) == (not own)
    for row in own:
        near = max(fastest.batch_size / batch_size, batch_size / fastest.batch_size)
        assert near <= max(row.batch_size / batch_size, batch_size / row.batch_size) * (1 + 1e-12)
        assert row.batch_size != fastest.batch_size or fastest.seconds <= row.seconds


@given(st.lists(timings, max_size=8), st.lists(timings, max_size=8))
def test_new_times_replace_those_of_the_same_device_and_batch_size(old, new):
    renewed = ExecutionTimings(tuple(old)).renewed(new).rows
    measured = {(row.device, row.batch_size) for row in new}
    assert [row for row in renewed if (row.device, row.batch_size) in measured] == new
    assert {*renewed} >= {row for row in old if (row.device, row.batch_size) not in measured}


@pytest.mark.parametrize("name", NAMES)
def test_measured_times_decide(tiny_meter, closing, name):
    times = ExecutionTimings(tuple(Timing(HERE, 4, each, 2.0 - (each == name)) for each in NAMES))
    executor = AutoExecutor(tiny_meter.model, tiny_meter.params, COARSE, times)
    for _ in range(1 + (name == "one_program")):  # whose first batch runs padded
        same(executor(*tiny_meter.batch, trim=closing), tiny_meter.run(closing))
    assert executor.description == f"{name} at batch 4 (the fastest measured on this device at batch 4)"
    assert executor.compiled > 0


def test_without_times_the_size_of_the_model_and_the_device_decide(tiny_meter, monkeypatch):
    def chosen(backend, small, tiny=0.0):
        monkeypatch.setattr(auto, "TINY", tiny)
        monkeypatch.setattr(auto, "SMALL", small)
        monkeypatch.setattr(jax, "default_backend", lambda: backend)
        return AutoExecutor(tiny_meter.model, tiny_meter.params)._choose(4, *tiny_meter.batch)

    images, ids, mask = tiny_meter.batch
    whole = jax.jit(tiny_meter.model.apply)(tiny_meter.params, images, ids, np.ones_like(mask))  # no padding
    exact = float(np.sum(tiny_meter.model.full_macs(whole.record)))
    name, why = chosen("cpu", 2 * exact)
    assert (name, why) == ("one_program", f"{exact / 1e9:.2g} G MACs at full capacity, on a CPU")
    assert chosen("cpu", 0.5 * exact)[0] == "packed"
    assert chosen("cpu", 4 * exact, tiny=2 * exact)[0] == "padded"
    assert chosen("gpu", 0.5 * exact)[0] == chosen("tpu", 2 * exact)[0] == "one_program"


def test_a_model_without_trimmers_is_served_too(tiny_meter):
    plain = Functional(dataclasses.replace(tiny_meter.config, trimming=None))
    params = {name: part for name, part in tiny_meter.params.items() if name != "trimmers"}
    output = AutoExecutor(plain, params)(*tiny_meter.batch)
    np.testing.assert_allclose(output.logits["vqa"], tiny_meter.run(None).logits["vqa"], atol=1e-5)


def test_a_configuration_names_the_execution(tiny_meter):
    make = functools.partial(make_executor, tiny_meter.model, tiny_meter.params)
    assert type(make(ExecutionConfig())) is AutoExecutor
    for name, kind in EXECUTORS.items():
        assert type(make(ExecutionConfig(name=name))) is kind
    with pytest.raises(ConfigError, match=r"ExecutionConfig\.name"):
        ExecutionConfig(name="fastest")


def test_times_that_are_no_numbers_are_refused():
    for seconds in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="seconds"):
            Timing(HERE, 1, "packed", seconds)
