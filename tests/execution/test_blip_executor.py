"""Packed execution of BLIP gives what padded execution gives, in every task."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_tables import random_tables
from tiny_blip import CLOSING, EVERY_TASK, TinyBlip, make_inputs, tiny_blip

from smarttrim_jax.benchmarking.forced_load import forced_model
from smarttrim_jax.benchmarking.speed import executed_macs
from smarttrim_jax.execution import CutConfig, ExecutionConfig, OneProgramExecutor, PackedExecutor
from smarttrim_jax.models.base import Output
from smarttrim_jax.tokens import Packed
from smarttrim_jax.trimming.gates import Trim

COARSE = ExecutionConfig(
    length_growth=2.0, capacity_growth=2.0, max_buckets=100, cuts=CutConfig(first=1, most=2, branches=1)
)


@pytest.fixture(params=EVERY_TASK, scope="module")
def tiny(request: Any) -> TinyBlip:
    return tiny_blip(request.param)


@functools.cache
def packed_executor(task: str) -> PackedExecutor:
    """One for all tests of a task: its programs are compiled once."""
    return PackedExecutor(tiny_blip(task).model, tiny_blip(task).params, COARSE)


@functools.cache
def padded_call(task: str) -> Any:
    """The padded execution of the call alone."""
    tiny = tiny_blip(task)
    run = jax.jit(lambda batch, trim: tiny.model.apply(tiny.params, *batch, trim=trim))
    return lambda trim: run(tiny.batch, None if trim is None else jax.tree.map(jnp.float32, trim))


@pytest.fixture(scope="module")
def executor(tiny: TinyBlip) -> PackedExecutor:
    return packed_executor(tiny.config.task)


@pytest.fixture(scope="module")
def padded(tiny: TinyBlip) -> Any:
    return padded_call(tiny.config.task)


def same(packed: Output, padded: Output, rows: Any = None, atol: float = 1e-5) -> None:
    """The same decisions, logits, and values of open tokens."""
    rows = np.arange(4) if rows is None else np.asarray(rows)
    values = {side: part.pad(part.values) for side, part in packed.state.items() if side in ("text", "target")}
    gates = {side: packed.state[side].padded_gate for side in values}
    packed, padded, values, padded_gates = jax.device_get((packed, padded, values, gates))
    for name, gates in padded.record.gates.items():
        ours = packed.record.gates[name]
        pick = rows if gates.tokens.shape[1] == 4 else np.ravel(2 * rows[:, None] + np.arange(2))
        for part, opened in {**gates.modules, "tokens": gates.tokens}.items():
            np.testing.assert_array_equal(getattr(ours, part), opened[:, pick], err_msg=f"{name} {part}")
    for side in ("text", "target"):
        if side in padded.state:
            expected, gate = padded.state[side], padded.state[side].gate[rows]
            np.testing.assert_array_equal(padded_gates[side], gate)
            difference = (values[side] - expected.values[rows]) * gate[..., None]
            np.testing.assert_allclose(difference, 0, atol=atol, err_msg=side)
    for name, logits in padded.logits.items():
        if logits.ndim == 2:
            np.testing.assert_allclose(packed.logits[name], logits[rows], atol=atol)
        else:
            counted = padded.state["target"].gate[rows][..., None]
            np.testing.assert_allclose(packed.logits[name] * counted, logits[rows] * counted, atol=atol)


@pytest.mark.parametrize("offset", [None, -5.0])
def test_equals_the_padded_execution_at_every_turn_of_the_dial(executor, tiny, padded, offset):
    trim = None if offset is None else Trim(offset=offset)
    output = executor(*tiny.batch, trim=trim)
    assert any(isinstance(tokens, Packed) for tokens in output.state.values())
    same(output, padded(trim))


def test_neighbours_do_not_matter(executor, tiny, padded):
    rows = [3, 1, 0, 2]
    same(executor(*(part[rows] for part in tiny.batch), trim=CLOSING), padded(CLOSING), rows)


def test_image_tokens_leave_memory_while_texts_read_them(executor, tiny):
    lines = executor.packed_lengths(tiny.batch, Trim(offset=-1e3))
    sides = [side for _, sizes in lines for side in sizes if side.startswith("image")]
    assert {run for run, _ in lines} >= {"image"}
    last = lines[-1][1]
    assert all(last[side] <= 8 for side in last if side.startswith("image")), sides


@pytest.mark.slow
def test_calibration_takes_heads_out_and_changes_no_result():
    tiny = tiny_blip("nlvr2")
    executor, few = PackedExecutor(tiny.model, tiny.params, COARSE), tuple(part[[0]] for part in tiny.batch)
    executor.calibrate([few], trim=CLOSING)
    assert any(layer is not None for run in executor.runs for layer in run.narrow_layers)
    expected = padded_call("nlvr2")(CLOSING)
    same(executor(*few, trim=CLOSING), expected, [0])
    same(executor(*tiny.batch, trim=CLOSING), expected)


def test_lines_say_how_much_was_computed(executor, tiny):
    output, lines = executor(*tiny.batch, trim=CLOSING), executor.packed_lengths(tiny.batch, CLOSING)
    needed = executed_macs(tiny.model, output.record)
    assert needed < executed_macs(tiny.model, output.record, lines)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["vqa", "nlvr2"])
def test_one_program_gives_the_same(task):
    tiny = tiny_blip(task)
    executor = OneProgramExecutor(tiny.model, tiny.params, COARSE)
    for compiled in (0, 1):  # the first batch, which runs padded, tells where to cut
        same(executor(*tiny.batch, trim=CLOSING), padded_call(task)(CLOSING))
        assert executor.compiled == compiled
    assert executor.cuts(len(tiny.batch[0]))


@pytest.mark.parametrize(
    ("task", "batch"),
    [
        pytest.param("nlvr2", 3, marks=pytest.mark.slow),
        pytest.param("vqa", 16, marks=pytest.mark.slow),
        ("retrieval", 1),
    ],
)
def test_equals_the_padded_execution_under_random_gates(task, batch):
    tiny, random = tiny_blip(task), np.random.default_rng(batch)
    inputs = make_inputs(tiny.config, random, random.integers(1, 11, batch))
    call = tuple(inputs[name] for name in ("images", "ids", "mask"))
    record = jax.eval_shape(lambda params: tiny.model.apply(params, *call, trim=Trim()).record, tiny.params)
    tables = {}
    heads = {}
    for key, gates in record.gates.items():
        trimmers = tiny.params["trimmers"].get(key.name, {})
        layers = jax.tree.leaves(trimmers)[0].shape[0] if trimmers else 0
        rows, length = gates.tokens.shape[1:]
        if "token" in trimmers:
            tables[key] = random_tables(random, [0.6] * layers, rows, length)
        if "head" in trimmers:
            heads[key] = jnp.asarray(random.integers(0, 2, (layers, rows, 4)), jnp.float32)
    model, params = forced_model(tiny.config, tiny.params, tokens=tables, heads=heads)
    expected = jax.jit(model.apply)(params, *call, trim=Trim())
    output = PackedExecutor(model, params, COARSE)(*call, trim=Trim())
    for name, gates in expected.record.gates.items():
        jax.tree.map(np.testing.assert_array_equal, output.record.gates[name], gates)
    for name, logits in expected.logits.items():
        np.testing.assert_allclose(output.logits[name], logits, atol=1e-5)
    text = output.state["text"]
    difference = (text.pad(text.values) - expected.state["text"].values) * text.padded_gate[..., None]
    np.testing.assert_allclose(difference, 0, atol=1e-5)


@pytest.mark.slow
def test_answers_are_the_same_from_packed_questions():
    tiny = tiny_blip("vqa")
    packed = packed_executor("vqa")(*tiny.batch, trim=CLOSING)
    assert isinstance(packed.state["text"], Packed)
    ids, mask = tiny.inputs["answers"], tiny.inputs["answer_mask"]

    @jax.jit
    def finish(encoded: Output) -> Any:
        module = tiny.model.bind(tiny.params)
        decoded = module.decode(encoded, ids, mask, trim=CLOSING)
        answers = jnp.asarray(ids.reshape(8, 5)), jnp.asarray(mask.reshape(8, 5))
        return decoded.logits, decoded.record, module.rank(encoded, *answers, 4, trim=CLOSING)

    expected = padded_call("vqa")(CLOSING)
    for ours, theirs in zip(jax.tree.leaves(finish(packed)), jax.tree.leaves(finish(expected)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.slow
def test_pieces_of_a_batch_of_pairs_give_what_the_whole_gives() -> None:
    tiny = tiny_blip("nlvr2")
    executor = PackedExecutor(tiny.model, tiny.params, dataclasses.replace(COARSE, microbatch=2 * 17 * 24))
    same(executor(*tiny.batch, trim=CLOSING), padded_call("nlvr2")(CLOSING))
