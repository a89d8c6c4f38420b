"""A BLIP run starts from an official weight file."""

import dataclasses
import pathlib

import chex
import jax
import numpy as np
import pytest
from official_blip_names import official_shapes

from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.pretrained import from_official_blip
from smarttrim_jax.pretrained.files import write_weights
from smarttrim_jax.training.initialization import starting_params
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.policies import LearnedPolicyConfig


def test_official_weights_fill_the_model_and_trimmers_start_fresh(tmp_path: pathlib.Path) -> None:
    random, file = np.random.default_rng(0), tmp_path / "nlvr.safetensors"
    tensors = {name: random.normal(size=shape).astype(np.float32) for name, shape in official_shapes("nlvr2").items()}
    write_weights(file, tensors, {})
    plain, expected = from_official_blip(tensors, task="nlvr2", vision_heads=3, text_heads=5)
    model = dataclasses.replace(plain, trimming=TrimmingConfig(policy=LearnedPolicyConfig(hidden=4)))
    data = DataConfig("nlvr", image_size=64, text_length=12, batch_size=4, start="[ENC]")
    config = ExperimentConfig(model, data, task="nlvr2", init_from=str(file))
    shapes = jax.eval_shape(Functional(model).init, jax.random.key(0))
    fresh = jax.tree.map(lambda leaf: np.full(leaf.shape, 7, leaf.dtype), shapes)
    chex.assert_trees_all_equal(starting_params(config, fresh), expected | {"trimmers": fresh["trimmers"]})

    narrow = dataclasses.replace(
        config, model=dataclasses.replace(model, text=dataclasses.replace(model.text, width=10))
    )
    other = jax.eval_shape(Functional(narrow.model).init, jax.random.key(0))
    with pytest.raises(CheckpointError, match=r"text.width is 20, not 10"):
        starting_params(narrow, other)
