"""The official code's METER on tiny random weights, and transformers."""

import pathlib
import warnings
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


@pytest.fixture(scope="session")
def hub() -> Any:
    """transformers, quiet."""
    reason = "parity with transformers needs the extra 'parity'"
    pytest.importorskip("torch", reason=reason)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers", reason=reason)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers
