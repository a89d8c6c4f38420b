"""The speed dial finds the offset of an asked speed-up, on smooth and on stepped models."""

import math
from typing import Any

import pytest

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.trimming.calibration import SpeedDial, calibrate


def smooth(offset: float) -> float:
    return 0.2 + 0.8 / (1 + math.exp(-offset))


def stepped(offset: float) -> float:
    """As if 16 tokens left at 16 offsets."""
    return round(smooth(offset) * 16) / 16


@pytest.mark.parametrize("speedup", [1.0, 1.3, 2.0, 3.0])
def test_an_asked_speed_up_is_met_to_one_percent(speedup: float) -> None:
    dial = calibrate(smooth, [1.5, 2.0, 3.0], tolerance=0.002)
    reached = 1 / smooth(dial.offset_for(speedup))
    assert abs(reached / speedup - 1) < (0.01 if speedup in (1.0, 2.0, 3.0) else 0.05)


@pytest.mark.parametrize("speedup", [1.5, 2.0, 2.3, 4.0])
def test_on_jumps_the_dial_lands_beside_the_nearest_step(speedup: float) -> None:
    dial = calibrate(stepped, [speedup])
    assert abs(stepped(dial.offset_for(speedup)) - 1 / speedup) <= 1 / 16


def test_the_dial_is_sorted_and_never_falls_despite_noise() -> None:
    calls = iter(range(1000))

    def noisy(offset: float) -> float:
        return smooth(offset) * (1 + 1e-4 * (-1) ** next(calls))

    dial = calibrate(noisy, [1.5, 2.0, 3.0])
    assert list(dial.offsets) == sorted(dial.offsets)
    assert list(dial.ratios) == sorted(dial.ratios)


def test_measurements_are_few_and_reused() -> None:
    seen: list[float] = []

    def counted(offset: float) -> float:
        seen.append(offset)
        return smooth(offset)

    calibrate(counted, [2.0, 2.0, 1.0], iterations=12)
    assert len(seen) == len(set(seen)) <= 3 + 12


@pytest.mark.parametrize("model", [smooth, stepped])
def test_a_near_dial_saves_measurements_and_changes_nothing_else(model: Any) -> None:
    asked = [1.5, 2.0, 2.5, 3.0, 3.5]
    # On fewer examples ratios are others; 3.5 was not asked.
    near = calibrate(lambda offset: 0.98 * model(offset + 0.05), asked[:-1])
    seen: list[float] = []

    def counted(offset: float) -> float:
        seen.append(offset)
        return model(offset)

    calibrate(counted, asked)
    measured = len(seen)
    dial, again = calibrate(counted, asked, near=near), len(seen) - measured
    for speedup in asked:
        miss = abs(model(dial.offset_for(speedup)) - 1 / speedup)
        assert miss <= (0.006 / speedup if model is smooth else 1 / 16)
    assert again < (measured if model is stepped else 2 / 3 * measured)


def test_a_model_that_never_closes_has_a_dial_that_says_so() -> None:
    dial = calibrate(lambda offset: 1.0, [2.0])
    assert dial.offset_for(1.0) in dial.offsets
    with pytest.raises(ConfigError, match="ends at 1"):
        dial.offset_for(1.5)


def test_speed_ups_below_one_and_beyond_reach_are_refused() -> None:
    dial = SpeedDial((-1.0, 1.0), (0.25, 1.0))
    with pytest.raises(ConfigError, match=r"speedup is 0\.9"):
        dial.offset_for(0.9)
    with pytest.raises(ConfigError, match=r"ends at 4\.00"):
        dial.offset_for(4.5)
    assert dial.offset_for(4.0) == -1.0
    assert dial.offset_for(1.6) == pytest.approx(0.0)


def test_of_offsets_with_the_same_ratio_the_lowest_is_taken() -> None:
    assert SpeedDial((-1.0, 0.0, 8.0, 16.0), (0.5, 0.8, 1.0, 1.0)).offset_for(1.0) == 8.0


@pytest.mark.parametrize(("below", "miss"), [(0.127, 0.004), (0.127, 0.02), (0.27, 0.004)])
def test_a_point_that_meets_what_is_asked_is_taken_as_it_was_measured(below: float, miss: float) -> None:
    """Beside it MACs may jump, here at an offset of -0.001 from a third to less."""
    for side in (-1, 1):
        met = (1 + side * miss) / 3
        points = [(-16.0, below), (0.0, met), (1.0, 0.6), (16.0, 1.0)]
        dial = SpeedDial(*zip(*points, strict=True))
        assert dial.offset_for(3.0) == 0.0
        assert 0.0 < dial.offset_for(2.0) < 1.0


def test_what_was_not_measured_is_told(caplog: pytest.LogCaptureFixture) -> None:
    dial = SpeedDial((-16.0, 0.0, 2.0, 16.0), (0.13, 0.33, 0.5, 1.0))
    for speedup in (1 / 0.33, 2.5, 1.0, 7.6):
        dial.offset_for(speedup)
    assert caplog.messages == []
    dial.offset_for(3.5)
    assert caplog.messages == [
        "a speed-up of 3.5 was not measured, but 3.03 and 7.69; what is saved may be far from it"
    ]
