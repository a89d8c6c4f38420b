"""The work of compiled programs, counted from their text."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from smarttrim_jax.ahead_of_time.inference_work import WorkRow, inference_work
from smarttrim_jax.ahead_of_time.work import Work, count_work
from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.reporting.slice_table import format_work
from smarttrim_jax.training.run_data import fit_to_data

LAYERS, WIDTH = 5, 128
PRODUCT = 2 * WIDTH**3

PROGRAM = """HloModule jit_answer, is_scheduled=true

%picked (stack: f32[6,8,8], x: f32[4,8]) -> f32[4,8] {
  %stack = f32[6,8,8]{2,1,0} parameter(0)
  %layer = f32[1,8,8]{2,1,0} slice(%stack), slice={[2:3], [0:8], [0:8]}
  %weights = f32[8,8]{1,0} bitcast(%layer)
  %x = f32[4,8]{1,0} parameter(1)
  ROOT %product = f32[4,8]{1,0:T(8,128)} convolution(%x, %weights), dim_labels=bf_io->bf
}

%written (line: f32[64,8], x: f32[4,8]) -> f32[64,8] {
  %line = f32[64,8]{1,0} parameter(0)
  %x.1 = f32[4,8]{1,0} parameter(1)
  %zero = s32[] constant(0)
  ROOT %updated = f32[64,8]{1,0} dynamic-update-slice(%line, %x.1, %zero, %zero)
}

%small (in: (f32[6,8,8], f32[4,8])) -> f32[4,8] {
  %in = (f32[6,8,8]{2,1,0}, f32[4,8]{1,0:S(1)}) parameter(0)
  %w = f32[6,8,8]{2,1,0} get-tuple-element(%in), index=0
  %v = f32[4,8]{1,0:S(1)} get-tuple-element(%in), index=1
  ROOT %y = f32[4,8]{1,0} fusion(%w, %v), kind=kOutput, calls=%picked, metadata={op_name="cond/part_0/dot"}
}

%large (in.1: (f32[6,8,8], f32[4,8])) -> f32[4,8] {
  %in.1 = (f32[6,8,8]{2,1,0}, f32[4,8]{1,0:S(1)}) parameter(0)
  %v.1 = f32[4,8]{1,0:S(1)} get-tuple-element(%in.1), index=1
  ROOT %flash = f32[4,8]{1,0} custom-call(%v.1), custom_call_target="kernel", metadata={op_name="a/part_2/b"}, \
backend_config={"custom_call_config": {"cost_estimate":{"flops":"900","transcendentals":"5","bytes_accessed":"70"}}}
}

%turned (state: (s32[], f32[4,8])) -> pred[] {
  %state = (s32[], f32[4,8]{1,0}) parameter(0)
  %turn = s32[] get-tuple-element(%state), index=0
  %turns = s32[] constant(3)
  ROOT %less = pred[] compare(%turn, %turns), direction=LT
}

%turns_body (state.1: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %state.1 = (s32[], f32[4,8]{1,0}) parameter(0)
  %held = f32[4,8]{1,0} get-tuple-element(%state.1), index=1
  %twice = f32[4,8]{1,0} add(%held, %held)
  ROOT %next = (s32[], f32[4,8]{1,0}) tuple(%turn, %twice)
}

ENTRY %main (a: f32[6,8,8]) -> f32[64,8] {
  %a = f32[6,8,8]{2,1,0} parameter(0)
  %begun = (f32[4,8]{1,0:S(1)}, f32[4,8]{1,0}, u32[]) copy-start(%b)
  %near = f32[4,8]{1,0:S(1)} copy-done(%begun)
  %chosen = f32[4,8]{1,0} conditional(%which, %t, %t), branch_computations={%small, %large}
  %looped = (s32[], f32[4,8]{1,0}) while(%u), condition=%turned, body=%turns_body
  %b = f32[4,8]{1,0} get-tuple-element(%looped), index=1
  %old = f32[64,8]{1,0} get-tuple-element(%looped), index=0
  %splash.1 = bf16[2,640,64]{2,1,0:S(1)} custom-call(%near, %q, %k, %k), custom_call_target="tpu_custom_call"
  %q = bf16[2,640,64]{2,1,0:S(1)} get-tuple-element(%looped), index=2
  %k = bf16[2,256,64]{2,1,0:S(1)} get-tuple-element(%looped), index=3
  ROOT %line.1 = f32[64,8]{1,0} fusion(%old, %b), kind=kLoop, calls=%written
}
"""
ONE = 4 * 8 * 4
SPLASH = Work(4 * 2 * 640 * 256 * 64, 2 * 64 * 2 * (2 * 640 + 2 * 256))
"""640 queries, in one block, over 256 keys."""
OUTSIDE = SPLASH + Work(0, ONE + 3 * 2 * ONE + 2 * ONE)
"""Further a copy to near memory, three turns that read and write, and an update in place."""


@pytest.mark.parametrize(
    ("number", "chosen"),
    [
        # The product reads one layer of six, and an array that is near; the kernel counts as it declares.
        (0, Work(2 * 4 * 8 * 8, 8 * 8 * 4 + ONE)),
        (1, Work(2 * 4 * 8 * 8, 8 * 8 * 4 + ONE)),
        (2, Work(900, 70)),
        (3, Work(900, 70)),
    ],
)
def test_loops_count_as_they_turn_and_conditionals_as_they_are_taken(number: int, chosen: Work) -> None:
    assert count_work(PROGRAM, "part_", number) == OUTSIDE + chosen


def test_conditionals_without_numbers_count_with_their_largest_branch() -> None:
    assert count_work(PROGRAM.replace("part_0", "apart"), "part_", 0) == OUTSIDE + Work(900, 70)


def test_agrees_with_the_compiler_where_that_counts_all() -> None:
    def program(matrix: jax.Array, weights: jax.Array) -> jax.Array:
        return jnp.tanh(matrix @ weights[1]) @ weights[3]

    compiled = jax.jit(program).lower(jnp.ones((WIDTH, WIDTH)), jnp.ones((LAYERS, WIDTH, WIDTH))).compile()
    counted = count_work(compiled.as_text() or "")
    assert counted.flops == compiled.cost_analysis()["flops"] == 2 * PRODUCT
    # Matrices that pass memory: in, twice the picked weights, between the three operations, and out.
    assert 6 * 4 * WIDTH**2 <= counted.bytes <= 12 * 4 * WIDTH**2


def test_scanned_layers_count_each() -> None:
    def program(matrix: jax.Array, weights: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda held, layer: (held @ layer, None), matrix, weights)[0]

    compiled = jax.jit(program).lower(jnp.ones((WIDTH, WIDTH)), jnp.ones((LAYERS, WIDTH, WIDTH))).compile()
    assert count_work(compiled.as_text() or "").flops == LAYERS * PRODUCT


def test_each_branch_of_inference_is_less_work_than_the_next(experiment: ExperimentConfig) -> None:
    fitted = fit_to_data(experiment, prepare(experiment.data))
    small = dataclasses.replace(fitted, data=dataclasses.replace(fitted.data, batch_size=64))
    rows = inference_work(small, jax.devices()[0], 64)
    assert [row.program for row in rows] == ["full", *["packed"] * 4]
    assert rows[0].flops_over_full == rows[0].bytes_over_full == 1.0
    assert sorted(row.flops for row in rows[1:]) == [row.flops for row in rows[1:]]
    assert rows[1].flops < 0.8 * rows[4].flops
    assert rows[4].flops_over_full == pytest.approx(rows[4].flops / rows[0].flops)


def test_the_table_has_a_line_for_each_row() -> None:
    rows = [WorkRow(8, "full", None, 2e12, 3e9, 1.0, 1.0), WorkRow(8, "packed", 0.25, 5e11, 1e9, 0.25, 1 / 3)]
    assert format_work(rows).splitlines()[1:] == [
        "    8  full          all     2000.0     1.00     3000.0     1.00",
        "    8  packed       0.25      500.0     0.25     1000.0     0.33",
    ]
