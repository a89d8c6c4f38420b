"""What a slice would be asked for, from programs that were compiled for it."""

import dataclasses

import pytest

from smarttrim_jax.ahead_of_time.collectives import Collectives
from smarttrim_jax.ahead_of_time.program import CompiledProgram
from smarttrim_jax.ahead_of_time.report import Growth, SliceReport
from smarttrim_jax.ahead_of_time.serving import CompiledAnswer
from smarttrim_jax.ahead_of_time.topology import Chip, Slice, open_slice
from smarttrim_jax.ahead_of_time.training_step import CompiledStep
from smarttrim_jax.errors import ConfigError

# Four devices in a square, of 1,000 bytes, 50 operations and 20 sent bytes a second.
SQUARE = Slice("v5e:2x2", ("device",) * 4, Chip(1000, 50.0, 20.0))


def compiled(examples: int) -> CompiledStep:
    sent = [Collectives("all-gather", 3, 60), Collectives("all-reduce", 1, 40)]
    return CompiledStep(examples, 10, 100, 3.125 * examples, CompiledProgram(1.0, 200 + 3 * examples, sent))


def test_the_largest_batch_lies_on_the_line_through_two():
    assert SliceReport(SQUARE, compiled(128), compiled(64)).growth == Growth(264, 0.0)  # 266.7, by fours


def test_efficiency_is_the_share_of_work_where_nothing_overlaps_and_asks_for_the_chip():
    # 400 operations at .4 of 50 a second take 20 s; 100 bytes at half of 20 a second, along one axis of two, 10 s.
    assert SliceReport(SQUARE, compiled(128)).efficiency == pytest.approx(2 / 3)
    unknown = dataclasses.replace(SQUARE, chip=None)
    report = SliceReport(unknown, compiled(128), compiled(64))
    assert report.efficiency is None
    assert report.growth is not None
    assert report.growth.largest_batch is None


def test_what_a_chip_cannot_hold_is_refused_with_figures():
    SliceReport(SQUARE, compiled(266)).check_memory()  # 998 bytes of 1,000
    with pytest.raises(ConfigError, match=r"a batch of 268 does not fit: a device would hold .*accumulate"):
        SliceReport(SQUARE, compiled(268)).check_memory()
    answer = CompiledAnswer(7, CompiledProgram(1.0, 1001, []))
    with pytest.raises(ConfigError, match="inference on a batch of 7 does not fit"):
        SliceReport(SQUARE, compiled(64), answer=answer).check_memory()
    SliceReport(dataclasses.replace(SQUARE, chip=None), compiled(268)).check_memory()


@pytest.mark.parametrize(
    ("name", "dimensions"), [("v5e:16x16", 2), ("v5p:4x4x4", 3), ("v5e:1x1", 1), ("v4:2x2x1", 2)]
)
def test_a_torus_has_the_axes_with_more_than_one_chip(name, dimensions):
    assert dataclasses.replace(SQUARE, name=name).dimensions == dimensions


def test_slices_that_cannot_be_compiled_for_are_named():
    with pytest.raises(ConfigError, match=r"aot|no TPU slice 'v5e:3x99'"):
        open_slice("v5e:3x99")
