"""A prepared data set, and the makers of raw data."""

import pathlib

import pytest
from raw_data import make_easy_vqa, make_nlvr, png

from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset, prepare


@pytest.fixture(scope="session")
def easy_vqa_source(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return make_easy_vqa(tmp_path_factory.mktemp("raw") / "easy_vqa")


@pytest.fixture(scope="session")
def config(easy_vqa_source: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    return DataConfig(
        dataset="easy_vqa",
        image_size=8,
        text_length=10,
        batch_size=4,
        data_dir=str(tmp_path_factory.mktemp("prepared")),
        source=str(easy_vqa_source),
    )


@pytest.fixture(scope="session")
def dataset(config: DataConfig) -> Dataset:
    return prepare(config)


@pytest.fixture(scope="session")
def raw_makers():
    """The functions that write raw data, for tests that need their own."""
    return {"easy_vqa": make_easy_vqa, "nlvr": make_nlvr, "png": png}
