"""The official code's METER on tiny random weights."""

import pathlib
from typing import Any

import numpy as np
import pytest

WEIGHTS = "state_dict/"


@pytest.fixture(scope="session")
def golden_meter(golden: pathlib.Path) -> Any:
    return np.load(golden / "meter_tiny_vqa.npz")


@pytest.fixture
def official_weights(golden_meter: Any) -> dict[str, np.ndarray]:
    """Official name to tensor; a dict of the test's own."""
    return {key.removeprefix(WEIGHTS): golden_meter[key] for key in golden_meter if key.startswith(WEIGHTS)}
