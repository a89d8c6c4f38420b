"""What a compiled program sends, counted from its text."""

import pytest

from smarttrim_jax.ahead_of_time.collectives import Collectives, collectives
from smarttrim_jax.errors import ConfigError

PROGRAM = """HloModule jit_step, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  ROOT %sum = f32[] add(%x, %y)
}

%async_gather (p: bf16[8,128]) -> bf16[32,128] {
  %p = bf16[8,128]{1,0} parameter(0)
  ROOT %inner = bf16[32,128]{1,0:T(8,128)} all-gather(%p), replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}
}

%layer (state: (s32[], f32[64])) -> (s32[], f32[64]) {
  %state = (s32[], f32[64]{0}) parameter(0)
  %held = (bf16[8,128]{1,0}, bf16[32,128]{1,0}, u32[]) async-start(%w), calls=%async_gather
  %whole = bf16[32,128]{1,0} async-done(%held), calls=%async_gather
  %begun = (f32[16]{0}, f32[64]{0}) all-gather-start(%v), replica_groups=[2,4]<=[8], dimensions={0}
  %ended = f32[64]{0} all-gather-done(%begun)
  ROOT %next = (s32[], f32[64]{0}) tuple(%i, %ended)
}

%unfinished (state: (s32[], f32[64])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (a: f32[64]) -> f32[64] {
  %a = f32[64]{0} parameter(0)
  %w = (s32[]) while(%t), condition=%unfinished, body=%layer, backend_config={"known_trip_count":{"n":"12"}}
  %grads = (f32[100]{0}, bf16[50]{0}) all-reduce(%g, %h), replica_groups=[1,8]<=[8], to_apply=%add
  %part = f32[16]{0} reduce-scatter(%q), replica_groups=[2,4]<=[4,2]T(1,0), dimensions={0}, to_apply=%add
  %sent = (f32[10]{0}, f32[10]{0}) collective-permute-start(%r), source_target_pairs={{0,1},{1,0}}
  ROOT %out = f32[64]{0} get-tuple-element(%w), index=1
}
"""


def test_loops_count_as_often_as_they_turn_and_starts_once():
    assert collectives(PROGRAM) == [
        # By ring: each of 4 chips passes on 3 of 4 parts, of 32 x 128 numbers of 2 bytes and of 64 of 4 bytes.
        Collectives("all-gather", 24, 12 * (32 * 128 * 2 * 3 // 4 + 64 * 4 * 3 // 4)),
        Collectives("all-reduce", 1, 2 * (100 * 4 + 50 * 2) * 7 // 8),
        Collectives("reduce-scatter", 1, 64 * 4 * 3 // 4),
        Collectives("collective-permute", 1, 40),
    ]


def test_a_loop_without_a_note_turns_as_its_condition_says():
    noted = ', backend_config={"known_trip_count":{"n":"12"}}'
    counted = PROGRAM.replace(noted, "").replace("  ROOT %less", "  %n = s32[] constant(12)\n  ROOT %less")
    assert noted in PROGRAM
    assert collectives(counted) == collectives(PROGRAM)


def test_a_program_of_one_device_sends_nothing():
    assert collectives("ENTRY %main (a: f32[]) -> f32[] {\n  ROOT %a = f32[] parameter(0)\n}\n") == []


def test_a_collective_in_pieces_is_counted_once():
    """A TPU's compiler spreads a gather over what it computes meanwhile: over the turns of a loop, or within one."""
    whole = "f32[64]{0} all-gather(%p), replica_groups=[2,4]<=[8], dimensions={0}"
    piece = whole + ', frontend_attributes={chain_id="3"}'
    inner = piece.replace('"3"', '"4"')
    calls = f"  %one = f32[64] fusion(%w), calls=%piece\n  %two = {inner}\n  %three = {inner}\n"
    spread = f"%piece (p: f32[16]) -> f32[64] {{\n  ROOT %part = {piece}\n}}\n\n"
    program = PROGRAM.replace("%layer (", spread + "%layer (")
    program = program.replace("  ROOT %next", calls + "  ROOT %next").replace(
        "  ROOT %out", f"  %first = {piece}\n  ROOT %out"
    )
    (gathers, *others), (before, *same) = collectives(program), collectives(PROGRAM)
    assert others == same
    assert gathers.count == before.count + 1 + 12
    assert gathers.bytes == before.bytes + (1 + 12) * 64 * 4 * 3 // 4


@pytest.mark.parametrize(
    ("groups", "chips"),
    [
        ("{{0,1,2,3},{4,5,6,7}}", 4),
        ("[2,4]<=[8]", 4),
        ("mesh['data'=4,'fsdp'=2,'tensor'=1] {'data'}", 4),
        ("mesh['data'=4,'fsdp'=2,'tensor'=1] {'data','fsdp'}", 8),
        ("mesh['data'=16] {'data':(2)4}", 4),
    ],
)
def test_chips_are_counted_however_they_are_written(groups: str, chips: int) -> None:
    gather = f"  ROOT %g = f32[64]{{0}} all-gather(%p), channel_id=1, replica_groups={groups}, dimensions={{0}}"
    program = f"ENTRY %main (p: f32[16]) -> f32[64] {{\n{gather}\n}}\n"
    assert collectives(program) == [Collectives("all-gather", 1, 64 * 4 * (chips - 1) // chips)]


def test_chips_that_cannot_be_told_are_no_figure() -> None:
    program = "ENTRY %main (p: f32[16]) -> f32[64] {\n  ROOT %g = f32[64] all-gather(%p), replica_groups=all\n}\n"
    with pytest.raises(ConfigError, match=r"all-gather cannot be told from .*replica_groups=all"):
        collectives(program)
