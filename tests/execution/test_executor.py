"""Packed execution gives what padded execution gives, whatever is closed and whoever shares the batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from packed_output import COARSE, same
from random_tables import random_tables

from smarttrim_jax.benchmarking.forced_load import forced_model
from smarttrim_jax.benchmarking.speed import executed_macs
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.execution import ExecutionConfig, PackedExecutor, run_programs
from smarttrim_jax.execution.microbatches import cut, examples_at_once
from smarttrim_jax.execution.open_heads import grouped, narrow_layer
from smarttrim_jax.nn.layer_stack import unstack
from smarttrim_jax.tokens import Packed
from smarttrim_jax.trimming.gates import GateKey, Trim, TrimRecord
from smarttrim_jax.trimming.policies.forced import offset_that_keeps

IMAGE = GateKey("image", "image")
LAYERS = ["image"] * 3 + ["text"] * 2 + ["fusion"] * 2


@pytest.fixture(scope="module")
def executor(tiny_meter):
    """One for all tests that only run it: its programs are compiled once."""
    return PackedExecutor(tiny_meter.model, tiny_meter.params, COARSE)


@pytest.fixture(scope="module")
def by_pairs(tiny_meter):
    """One that works on two examples at a time."""
    return PackedExecutor(tiny_meter.model, tiny_meter.params, dataclasses.replace(COARSE, microbatch=2 * 17 * 32))


@pytest.fixture(scope="module")
def calibrated(tiny_meter, closing):
    """One that has seen the first example, and which heads that opens."""
    executor = PackedExecutor(tiny_meter.model, tiny_meter.params, COARSE)
    return executor, executor.calibrate([tuple(part[[0]] for part in tiny_meter.batch)], trim=closing)


@pytest.mark.parametrize("offset", [None, -2.5, -9.0])
def test_equals_the_padded_execution_at_every_turn_of_the_dial(executor, tiny_meter, offset):
    trim = None if offset is None else Trim(offset=offset)
    same(executor(*tiny_meter.batch, trim=trim), tiny_meter.run(trim))


@pytest.mark.slow
def test_pieces_of_a_batch_give_what_the_whole_gives(by_pairs, tiny_meter):
    trim = Trim(offset=np.asarray([-2.5, 9.0, -9.0, -2.0]))
    expected = tiny_meter.run(trim)
    output, again = by_pairs.stream([tiny_meter.batch, tiny_meter.batch], trim=trim)
    same(output, expected)
    same(again, expected)
    gate = expected.record.gates["fusion", "image"].tokens[-1]
    np.testing.assert_array_equal(output.state["image"].padded_gate, gate)
    np.testing.assert_allclose(
        output.state["image"].values * gate[..., None], expected.state["image"].values * gate[..., None], atol=1e-5
    )
    lines = by_pairs.packed_lengths(tiny_meter.batch, trim)
    assert [run for run, _ in lines] == LAYERS
    for (_, sides), opened in zip(
        lines, expected.record.gates["image", "image"].tokens.sum(axis=(1, 2)), strict=False
    ):
        assert opened <= sides["image"] <= 4 * 17


@pytest.mark.slow
def test_pieces_grow_with_what_calibration_saw_closed(executor, calibrated, tiny_meter, closing):
    record = tiny_meter.run(closing).record
    parts = (record.gates.values(), record.opened().gates.values())
    kept, first = (sum(np.sum(gates.tokens[:, 0]) for gates in part) for part in parts)
    assert calibrated[0].kept == pytest.approx(kept / first)
    assert executor.kept == 1


def test_a_batch_is_cut_into_pieces_with_what_belongs_to_each():
    batch = (np.arange(10).reshape(5, 2), Trim(offset=np.arange(5.0), noise=0.5))
    pieces = cut(batch, 5, 2)
    assert [len(ids) for ids, _ in pieces] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([ids for ids, _ in pieces]), batch[0])
    np.testing.assert_array_equal(np.concatenate([trim.offset for _, trim in pieces]), np.arange(5))
    assert all(trim.noise == 0.5 for _, trim in pieces)
    assert cut(batch, 5, 8) == [batch]


@pytest.mark.parametrize(("most", "size"), [(0.5, 1), (1, 1), (1.99, 1), (2, 2), (4.7, 4), (9.4, 8)])
def test_a_piece_is_a_power_of_two(most, size):
    assert examples_at_once(1000, int(most * 1000)) == size


def test_only_cpus_cut_batches(monkeypatch):
    assert examples_at_once(577 * 768, ExecutionConfig().numbers_at_once) == 4
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert examples_at_once(577 * 768, ExecutionConfig().numbers_at_once) > 10**6


def test_forced_examples_keep_the_share_they_were_given(tiny_meter):
    config, random = tiny_meter.config, np.random.default_rng(0)
    tables = {IMAGE: jnp.asarray((random.permutation(17) + 0.5)[None] / 17, jnp.float32)}
    model, params = forced_model(config, tiny_meter.params, tokens=tables)
    shares = jnp.asarray([0.0, 1 / 3, 0.8, 1.0])
    trim = Trim(offset=offset_that_keeps(shares))
    gates = jax.jit(lambda params: model.apply(params, *tiny_meter.batch, trim=trim).record.gates["image", "image"])
    image = jax.device_get(gates(params))
    assert abs(image.tokens.sum(axis=-1)[-1] - shares * 17).max() <= 1.5  # half a token of rounding, the first token
    assert image.heads.min() == 1


@pytest.mark.parametrize("rows", [pytest.param([2], marks=pytest.mark.slow), [3, 1, 0, 2], [1, 1, 1, 1]])
def test_neighbours_do_not_matter(executor, tiny_meter, closing, rows):
    some = executor(*(part[rows] for part in tiny_meter.batch), trim=closing)
    same(some, tiny_meter.run(closing), rows)


def test_a_stream_of_batches_comes_back_in_order(executor, tiny_meter, closing):
    order = [[0, 1, 2, 3], [2, 3, 0, 1], [1, 1, 0, 0]]
    batches = [tuple(part[rows] for part in tiny_meter.batch) for rows in order]
    outputs = list(executor.stream(batches, trim=closing, in_flight=2))
    assert len(outputs) == len(order)
    for output, rows in zip(outputs, order, strict=True):
        same(output, tiny_meter.run(closing), rows)


@pytest.mark.slow
def test_large_layers_are_computed_one_by_one_and_give_the_same(tiny_meter, closing, monkeypatch):
    monkeypatch.setattr(run_programs, "LOOPED", 0)
    executor = PackedExecutor(tiny_meter.model, tiny_meter.params, COARSE)
    same(executor(*tiny_meter.batch, trim=closing), tiny_meter.run(closing))
    executor.calibrate([tiny_meter.batch], trim=closing)
    same(executor(*tiny_meter.batch, trim=closing), tiny_meter.run(closing))


@pytest.mark.slow
def test_layers_between_two_compactions_may_be_many(tiny_meter, closing):
    executor = PackedExecutor(tiny_meter.model, tiny_meter.params, dataclasses.replace(COARSE, every=2))
    same(executor(*tiny_meter.batch, trim=closing), tiny_meter.run(closing))


def test_what_is_closed_leaves_memory(executor, tiny_meter):
    output = executor(*tiny_meter.batch, trim=Trim(offset=-1e3))
    record: TrimRecord = output.record
    assert isinstance(output.state["image"], Packed)
    assert output.state["image"].values.shape[0] < record.present["image", "image"].size / 4


def test_a_wrong_ladder_is_named():
    with pytest.raises(ConfigError, match="length_growth"):
        ExecutionConfig(length_growth=1.0)
    with pytest.raises(ConfigError, match="every is 0"):
        ExecutionConfig(every=0)


@pytest.mark.slow
def test_heads_that_nobody_opens_leave_the_weights_and_nothing_else_changes(calibrated, tiny_meter, closing):
    executor, kept = calibrated
    few = tuple(part[[0]] for part in tiny_meter.batch)
    expected = tiny_meter.run(closing)
    for (name, part), mask in kept.items():
        np.testing.assert_array_equal(mask, getattr(expected.record.gates[name], part)[:, 0])
    narrow = [layer for stage in executor.runs for layer in stage.narrow_layers if layer is not None]
    assert narrow
    same(executor(*few, trim=closing), expected, [0])
    # Others open heads that the first example never opened.
    assert any((expected.record.gates[n].heads > kept[n, "heads"][:, None]).any() for n in expected.record.gates)
    same(executor(*tiny_meter.batch, trim=closing), expected)


def test_a_narrow_layer_serves_only_the_heads_it_has(tiny_meter):
    layer = tiny_meter.model.bind(tiny_meter.params).stages[0]
    key = (IMAGE, "heads")
    narrow = narrow_layer(nnx.merge(*_first_layer(layer.layers)), {key: np.array([True, False, True, False])})
    assert narrow is not None
    assert narrow.params["image"]["attention"]["query"]["kernel"].shape == (32, 16)
    assert narrow.serves({key: np.array([True, False, False, False])})
    assert not narrow.serves({key: np.array([False, True, False, False])})
    assert narrow_layer(nnx.merge(*_first_layer(layer.layers)), {key: np.ones(4, bool)}) is None


@pytest.mark.slow
def test_a_single_example_runs_with_its_own_heads(executor, tiny_meter, closing, monkeypatch):
    groups = []
    monkeypatch.setattr(run_programs, "grouped", lambda wanted: groups.append(grouped(wanted)) or groups[-1])
    one = tuple(part[[2]] for part in tiny_meter.batch)
    expected = tiny_meter.run(closing)
    assert any((gates.heads[:, 2] == 0).any() for gates in expected.record.gates.values())
    same(executor(*one, trim=closing), expected, [2])
    assert any(group is not None for group in groups)


def test_heads_are_grouped_up_to_whole_groups():
    key = (IMAGE, "heads")
    indices = grouped({key: np.array([0, 1, 0, 0, 1, 0, 1, 0], bool)})
    np.testing.assert_array_equal(indices[key], [0, 1, 4, 6])
    assert grouped({key: np.array([1, 1, 1, 1, 1, 1, 1, 0], bool)}) is None
    assert len(grouped({key: np.zeros(8, bool)})[key]) == 2


@pytest.mark.slow
def test_calibration_waits_only_where_tokens_close(tiny_meter):
    config = tiny_meter.config
    random = np.random.default_rng(0)
    tables = {IMAGE: jnp.stack([random_tables(random, (0.7,), 4, 17)[0], jnp.ones((4, 17))])}
    executor = PackedExecutor(*forced_model(config, tiny_meter.params, tokens=tables), COARSE)
    expected = executor(*tiny_meter.batch, trim=Trim())
    executor.calibrate([tiny_meter.batch], trim=Trim())
    first = config.trimming.image.first_layer
    assert [layer for run, layer in executor.pauses if run == "image"] == [first]
    again = executor(*tiny_meter.batch, trim=Trim())
    same(again, expected)


def test_lines_say_how_many_tokens_were_computed(executor, tiny_meter, closing):
    output = executor(*tiny_meter.batch, trim=closing)
    lines = executor.packed_lengths(tiny_meter.batch, closing)
    assert [run for run, _ in lines] == LAYERS
    for (_, sides), opened in zip(lines, output.record.gates["image", "image"].tokens.sum(axis=(1, 2)), strict=False):
        assert sides["image"] >= opened
    needed = executed_macs(tiny_meter.model, output.record)
    assert needed < executed_macs(tiny_meter.model, output.record, lines)
    full = tiny_meter.run(Trim(offset=1e3)).record.opened()
    assert executed_macs(tiny_meter.model, full) == pytest.approx(float(jnp.sum(tiny_meter.model.macs(full))))


def _first_layer(layers):
    graphdef, params = nnx.split(layers)
    return graphdef, unstack(params)[0]


@pytest.mark.slow
def test_warming_up_compiles_for_every_rung_and_changes_no_result(tiny_meter, closing):
    executor = PackedExecutor(
        tiny_meter.model, tiny_meter.params, ExecutionConfig(length_growth=4.0, capacity_growth=8.0)
    )
    assert executor.warmup(tiny_meter.batch, shares=(0.2, 1.0)) == 2
    compiled = executor.compiled
    executor.warmup(tiny_meter.batch, shares=(0.2, 1.0))
    assert executor.compiled == compiled
    same(executor(*tiny_meter.batch, trim=closing), tiny_meter.run(closing))
