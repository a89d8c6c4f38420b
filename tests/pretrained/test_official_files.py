"""A METER written under the official names and read again, by us and by whoever knows those names."""

import dataclasses
import json
import pathlib
from typing import Any

import chex
import jax
import numpy as np
import pytest
from fresh_params import fresh_params

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.models.meter import FusionConfig, meter_small
from smarttrim_jax.pretrained import from_official, read_official, write_official
from smarttrim_jax.pretrained.backbones import fill_from_file
from smarttrim_jax.pretrained.files import read_metadata, read_weights, write_weights
from smarttrim_jax.pretrained.paired_files import CONFIG, trimmers_path


@pytest.fixture
def written(tiny_meter: Any, tmp_path: pathlib.Path) -> pathlib.Path:
    files = write_official(tmp_path / "meter.safetensors", tiny_meter.config, tiny_meter.params)
    assert [file.name for file in files] == ["meter.safetensors", "meter.trimmers.safetensors"]
    assert all(file.is_file() for file in files)
    return files[0]


def test_a_written_pair_reads_back_bit_for_bit(tiny_meter: Any, written: pathlib.Path) -> None:
    config, params = read_official(written)
    assert config == tiny_meter.config
    chex.assert_trees_all_equal(params, tiny_meter.params)
    filled = fill_from_file(written, tiny_meter.config, jax.tree.map(np.zeros_like, tiny_meter.params), "vqa")
    chex.assert_trees_all_equal(filled, tiny_meter.params)


def test_the_file_is_an_official_one(tiny_meter: Any, written: pathlib.Path) -> None:
    tensors = read_weights(written)
    assert not any("trimmer" in name for name in tensors)
    assert tensors["vit_model.visual.transformer.resblocks.2.attn.in_proj_weight"].shape == (96, 32)
    _, params = from_official(tensors, vision_heads=4, text_heads=4, fusion_heads=4)
    chex.assert_trees_all_equal(
        params, {name: part for name, part in tiny_meter.params.items() if name != "trimmers"}
    )
    assert read_metadata(written)["format"] == "pt"


def test_without_trimmers_there_is_one_file_and_fresh_trimmers_on_request(
    tiny_meter: Any, written: pathlib.Path
) -> None:
    trimmers_path(written).unlink()
    config, params = read_official(written)
    assert config.trimming == tiny_meter.config.trimming
    chex.assert_trees_all_equal_shapes(params, tiny_meter.params)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(params["trimmers"], tiny_meter.params["trimmers"])
    plain = {name: part for name, part in tiny_meter.params.items() if name != "trimmers"}
    config = dataclasses.replace(config, trimming=None)
    assert write_official(written.with_name("plain.safetensors"), config, plain) == [
        written.with_name("plain.safetensors")
    ]
    assert "trimmers" not in read_official(written.with_name("plain.safetensors"))[1]


def test_overrides_change_what_was_written_down(written: pathlib.Path) -> None:
    config, params = read_official(written, image_size=48, dropout=0.0)
    assert (config.vision.image_size, config.text.dropout, config.vision.heads) == (48, 0.0, 4)
    assert params["image"]["position_embedding"].shape == (37, 32)


def test_a_file_of_other_sizes_is_refused_with_all_of_them(tiny_meter: Any, written: pathlib.Path) -> None:
    fusion = FusionConfig(width=32, depth=1, heads=4, mlp_width=128)
    other = dataclasses.replace(tiny_meter.config, fusion=fusion, heads=(HeadConfig("vqa", "classifier", 7),))
    with pytest.raises(CheckpointError) as error:
        fill_from_file(written, other, jax.eval_shape(Functional(other).init, jax.random.key(0)), "vqa")
    message = str(error.value)
    assert "fusion.depth is 2, not 1" in message
    assert "fusion.mlp_width is 64, not 128" in message
    assert "the outputs of head 'vqa' are 5, not 7" in message


def test_a_file_of_another_task_is_refused_and_one_of_pretraining_is_not(
    tiny_meter: Any, written: pathlib.Path
) -> None:
    config = dataclasses.replace(tiny_meter.config, heads=(HeadConfig("snli", "classifier", 3),))
    fresh = fresh_params(config, 3)
    with pytest.raises(CheckpointError, match=r"of another task: it has the heads vqa, and this run trains 'snli'"):
        fill_from_file(written, config, fresh, "snli")
    tensors = {name: part for name, part in read_weights(written).items() if not name.startswith("vqa")}
    tensors["itm_score.fc.weight"], tensors["itm_score.fc.bias"] = np.zeros((2, 64)), np.zeros(2)
    write_weights(written, tensors, {})
    params = fill_from_file(written, config, fresh, "snli")
    chex.assert_trees_all_equal(params["head"], fresh["head"])
    chex.assert_trees_all_equal(params["text"], tiny_meter.params["text"])


def test_trimmers_that_do_not_fit_are_named(tiny_meter: Any, written: pathlib.Path) -> None:
    trimmers = read_weights(trimmers_path(written))
    first, second = list(trimmers)[:2]
    write_weights(trimmers_path(written), {name: part for name, part in trimmers.items() if name != first}, {})
    with pytest.raises(CheckpointError, match=rf"this trimmers checkpoint does not fit.*1 missing: {first}"):
        read_official(written)
    write_weights(trimmers_path(written), trimmers | {second: np.zeros(3)}, {})
    with pytest.raises(CheckpointError, match=rf"1 misshaped: {second} is \[3\]"):
        read_official(written)


def test_what_the_official_meter_lacks_cannot_be_written(tmp_path: pathlib.Path) -> None:
    config = dataclasses.replace(meter_small(28), heads=(HeadConfig("mine", "linear", 2),))
    params = jax.tree.map(
        lambda leaf: np.broadcast_to(np.float32(0), leaf.shape),
        jax.eval_shape(Functional(config).init, jax.random.key(0)),
    )
    with pytest.raises(CheckpointError) as error:
        write_official(tmp_path / "meter.safetensors", config, params)
    message = str(error.value)
    for name in ("image/patch_embedding/bias", "image/layers/mlp_scale", "head/mine/net/kernel"):
        assert name in message
    assert not list(tmp_path.iterdir())


def test_a_damaged_configuration_is_named(written: pathlib.Path) -> None:
    tensors = read_weights(written)
    for text in ("{", json.dumps({"vision": {"widht": 3}})):
        write_weights(written, tensors, {CONFIG: text})
        with pytest.raises(CheckpointError, match=r"the configuration in '.*meter.safetensors' cannot be read"):
            read_official(written)
