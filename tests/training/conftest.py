"""A run of the tiny experiment to its end, for all tests of training."""

import pytest

from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.training.run import train


@pytest.fixture(scope="session")
def finished(experiment: ExperimentConfig, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a run that nobody disturbed."""
    path = str(tmp_path_factory.mktemp("finished"))
    train(experiment, path)
    return path
