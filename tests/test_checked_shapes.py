"""While tests run, the shapes that functions of the package are given and give are checked."""

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from smarttrim_jax.objectives import task_loss
from smarttrim_jax.tokens import Padded


@pytest.fixture(autouse=True)
def _checked(pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("jaxtyping_packages"):
        pytest.skip("--jaxtyping-packages= turned the checks off")


def test_sizes_that_differ_between_arguments_are_noticed() -> None:
    assert task_loss("softmax", jnp.zeros((2, 5)), jnp.zeros(2, jnp.int32)).shape == (2,)
    with pytest.raises(TypeCheckError, match="labels"):
        task_loss("softmax", jnp.zeros((2, 5)), jnp.zeros(3, jnp.int32))


def test_wrong_types_of_numbers_are_noticed() -> None:
    with pytest.raises(TypeCheckError, match="values"):
        Padded(jnp.zeros((1, 2, 3)), jnp.ones((1, 2))).replace(jnp.zeros((1, 2, 3), jnp.int32))
