"""The curriculum goes from full capacity to the budget, and never back."""

import numpy as np
import pytest

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.trimming.curriculum import CurriculumConfig, noise_level, target_ratio


def test_it_starts_at_full_capacity_and_ends_at_the_budget() -> None:
    config = CurriculumConfig(fraction=0.6)
    assert target_ratio(config, 2.5, 0, 100) == 1.0
    np.testing.assert_allclose(target_ratio(config, 2.5, 30, 100), (1 + 0.4) / 2, rtol=1e-6)
    np.testing.assert_allclose([target_ratio(config, 2.5, step, 100) for step in (60, 99)], 0.4, rtol=1e-6)


def test_it_never_rises() -> None:
    path = [float(target_ratio(CurriculumConfig(0.6), 3.0, step, 50)) for step in range(51)]
    assert (np.diff(path) <= 0).all()


def test_without_a_fraction_only_the_first_step_is_full() -> None:
    config = CurriculumConfig(fraction=0.0)
    assert target_ratio(config, 2.0, 0, 10) == 1.0
    assert target_ratio(config, 2.0, 1, 10) == 0.5


@pytest.mark.parametrize("fraction", [-0.1, 1.1])
def test_a_fraction_outside_zero_to_one_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        CurriculumConfig(fraction)


def test_the_noise_lasts_while_the_target_moves_and_is_gone_at_the_end() -> None:
    config = CurriculumConfig(fraction=0.5)
    levels = np.array([float(noise_level(config, step, 101)) for step in range(101)])
    np.testing.assert_array_equal(levels[:51], 1.0)
    assert (np.diff(levels[51:]) < 0).all()
    assert levels[-1] == 0.0
    assert noise_level(CurriculumConfig(anneal=False), 100, 101) == 1.0
