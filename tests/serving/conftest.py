"""A trained model as it is read from its folder, but for the training, and a run's folder that holds it."""

import pathlib

import pytest
from fresh_params import fresh_params
from run_folders import write_run
from tiny_run import decisive

from smarttrim_jax.data.dataset import Dataset, prepare
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.serving.trained_model import TrainedModel
from smarttrim_jax.training.run_data import fit_to_data
from smarttrim_jax.trimming.calibration import SpeedDial


@pytest.fixture(scope="session")
def dataset(experiment: ExperimentConfig) -> Dataset:
    return prepare(experiment.data)


@pytest.fixture(scope="session")
def trained(experiment: ExperimentConfig, dataset: Dataset) -> TrainedModel:
    """A tiny METER whose trimmers decide."""
    config = fit_to_data(experiment, dataset)
    params = fresh_params(config.model)
    params |= {"trimmers": decisive(params["trimmers"])}
    return TrainedModel(config, params, dataset.language, SpeedDial((-5.0, 0.0), (0.4, 0.6)))


@pytest.fixture(scope="session")
def image(experiment: ExperimentConfig) -> str:
    """An image file."""
    return str(next(pathlib.Path(experiment.data.source).rglob("*.png")))


@pytest.fixture(scope="session")
def run_folder(trained: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of a run that trained the model to its end."""
    return write_run(tmp_path_factory.mktemp("run"), trained)


@pytest.fixture(scope="session")
def saved_folder(trained: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A saved model's folder."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    trained.save(folder)
    return folder
