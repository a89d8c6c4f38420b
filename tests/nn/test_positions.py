"""Position tables equal the official code's."""

import jax.numpy as jnp
import numpy as np
import pytest

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.nn.positions import resize_positions, roberta_positions

# torch 2.13.0: x = torch.arange(16.).mul(1.7).sin().mul(8).round().div(8).reshape(1, 1, 4, 4);
# torch.nn.functional.interpolate(x, size=(g, g), mode="bicubic").flatten() for g = 6 and g = 3.
# fmt: off
SQUARE_4 = [
    0.0, 1.0, -0.25, -0.875, 0.5, 0.75, -0.75, -0.625,
    0.875, 0.375, -1.0, -0.125, 1.0, -0.125, -1.0, 0.375,
]
TORCH = {
    6: [
        -0.1358598, 0.6043024, 0.9498559, 0.0480826, -0.6668024, -0.9566064,
        0.1544868, 0.6925049, 0.7770545, -0.2376664, -0.7667236, -0.8246799,
        0.5874038, 0.7808974, 0.4687264, -0.6357814, -0.8265427, -0.5151280,
        0.8494904, 0.7785103, 0.2178430, -0.8361061, -0.7393755, -0.1718482,
        1.0492895, 0.6356201, -0.1673175, -0.9827473, -0.5301514, 0.2756345,
        1.1132169, 0.4991863, -0.4147429, -1.0242488, -0.3687609, 0.5415278,
    ],
    3: [
        0.2175500, 0.4612089, -0.7940431,
        0.7292120, -0.2298584, -0.4997374,
        0.8545166, -0.7537253, 0.1066142,
    ],
}
# fmt: on


@pytest.mark.parametrize("side", TORCH)
def test_resizing_equals_torchs_bicubic_interpolation(side: int) -> None:
    table = jnp.float32([9.0, *SQUARE_4])[:, None] * jnp.float32([1.0, -2.0])
    resized = resize_positions(table, (side, side))
    expected = np.float32([9.0, *TORCH[side]])[:, None] * np.float32([1.0, -2.0])
    np.testing.assert_allclose(resized, expected, atol=2e-6)


def test_the_same_grid_returns_the_table_itself() -> None:
    table = jnp.arange(10.0).reshape(5, 2)
    np.testing.assert_array_equal(resize_positions(table, (2, 2)), table)


def test_down_and_across_are_not_confused() -> None:
    rows = jnp.float32([0, 1, 1, 2, 2])[:, None]
    resized = resize_positions(rows, (2, 4))[1:, 0].reshape(2, 4)
    np.testing.assert_allclose(resized, [[1, 1, 1, 1], [2, 2, 2, 2]], atol=1e-6)


def test_a_table_that_is_no_square_is_refused() -> None:
    with pytest.raises(ConfigError, match="12 rows"):
        resize_positions(jnp.zeros((12, 4)), (3, 3))


def test_robertas_positions_skip_padding() -> None:
    positions = roberta_positions(jnp.int32([[0, 7, 2, 1, 1], [0, 1, 7, 2, 1]]), pad_id=1)
    np.testing.assert_array_equal(positions, [[2, 3, 4, 1, 1], [2, 1, 3, 4, 1]])
