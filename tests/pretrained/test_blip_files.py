"""A BLIP written under the official names or Hugging Face's and read again, with its trimmers beside it."""

import dataclasses
import json
import pathlib
from typing import Any

import chex
import jax
import numpy as np
import pytest
from tiny_blip import TASKS, tiny_config

from smarttrim_jax.errors import CheckpointError, ConfigError
from smarttrim_jax.models.blip import BlipConfig
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.models.meter import meter_tiny
from smarttrim_jax.pretrained import from_official_blip, read_blip, write_huggingface, write_official
from smarttrim_jax.pretrained.backbones import fill_from_file
from smarttrim_jax.pretrained.files import read_weights, write_weights
from smarttrim_jax.pretrained.paired_files import CONFIG, trimmers_path

HUGGING_FACE = ("vqa", "caption", "retrieval")
WAYS = [*(("official", task) for task in TASKS), *(("huggingface", task) for task in HUGGING_FACE)]
TRIMMED = [("official", "vqa"), ("huggingface", "retrieval")]
WRITERS: dict[str, Any] = {"official": write_official, "huggingface": write_huggingface}


def square_config(task: Any, **changes: Any) -> BlipConfig:
    """Images as wide as texts, which transformers' question answering needs."""
    config = tiny_config(task, **changes)
    return dataclasses.replace(config, vision=dataclasses.replace(config.vision, width=32))


def random_params(config: BlipConfig, seed: int = 0) -> Params:
    random, shapes = np.random.default_rng(seed), jax.eval_shape(Functional(config).init, jax.random.key(0))
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), shapes)


def without(params: Params, name: str) -> Params:
    return {part: leaf for part, leaf in params.items() if part != name}


@pytest.mark.parametrize(("names", "task"), WAYS)
def test_what_is_written_reads_back_bit_for_bit(names: str, task: str, tmp_path: pathlib.Path) -> None:
    config = square_config(task)
    if (names, task) not in TRIMMED:
        config = dataclasses.replace(config, trimming=None)
    params = random_params(config)
    files = WRITERS[names](tmp_path / "blip.safetensors", config, params)
    trimmers = ["blip.trimmers.safetensors"] if (names, task) in TRIMMED else []
    more = ["config.json"] if names == "huggingface" else []
    assert [file.name for file in files] == ["blip.safetensors", *trimmers, *more]
    found, read = read_blip(files[0])
    assert found == config
    chex.assert_trees_all_equal(read, params)
    filled = fill_from_file(files[0], config, random_params(config, seed=1), task)
    chex.assert_trees_all_equal(filled, params)


@pytest.mark.parametrize("task", HUGGING_FACE)
def test_both_families_hold_the_same_and_tell_their_task(task: str, tmp_path: pathlib.Path) -> None:
    config = square_config(task, trimming=None)
    params = random_params(config)
    official, hugging_face = (
        read_weights(write(tmp_path / f"{name}.safetensors", config, params)[0]) for name, write in WRITERS.items()
    )
    assert len(official) == len(hugging_face) + (task == "retrieval")  # its temperature
    assert {name for name in official if name.startswith("text")} < hugging_face.keys()
    heads = {"vision_heads": 4, "text_heads": 4}
    for tensors in (official, hugging_face):
        found, read = from_official_blip(tensors, **heads)
        assert found.task == task
        chex.assert_trees_all_equal(without(read, "temperature"), without(params, "temperature"))


def test_without_the_file_beside_trimmers_and_temperature_start_fresh(tmp_path: pathlib.Path) -> None:
    config = square_config("retrieval")
    params = random_params(config)
    path = write_huggingface(tmp_path / "blip.safetensors", config, params)[0]
    trimmers_path(path).unlink()
    found, read = read_blip(path)
    assert found == config
    np.testing.assert_allclose(read["temperature"], 0.07)
    chex.assert_trees_all_equal_shapes(read["trimmers"], params["trimmers"])
    assert np.abs(jax.tree.leaves(read["trimmers"])[0] - jax.tree.leaves(params["trimmers"])[0]).max() > 0
    plain = dataclasses.replace(config, trimming=None)
    path = write_huggingface(path, plain, without(params, "trimmers"))[0]
    np.testing.assert_array_equal(read_blip(path)[1]["temperature"], params["temperature"])


def test_a_config_json_tells_what_shapes_do_not_unless_we_wrote_it_down(tmp_path: pathlib.Path) -> None:
    config = square_config("caption", trimming=None)
    path = write_huggingface(tmp_path / "model.safetensors", config, random_params(config))[0]
    beside = tmp_path / "config.json"
    told = json.loads(beside.read_text())
    assert (told["architectures"], told["vision_config"]["image_size"]) == (["BlipForConditionalGeneration"], 32)
    told["text_config"] |= {"num_attention_heads": 2, "layer_norm_eps": 1e-3, "pad_token_id": 7}
    del told["vision_config"]["layer_norm_eps"]
    beside.write_text(json.dumps(told))
    assert read_blip(path)[0] == config
    write_weights(path, read_weights(path), {})
    found, _ = read_blip(path)
    assert (found.text.heads, found.text.epsilon, found.text.pad_id) == (2, 1e-3, 7)
    assert (found.vision.heads, found.vision.epsilon) == (4, 1e-5)  # transformers' own
    assert read_blip(path, vision_epsilon=1e-6, text_heads=8)[0].vision.epsilon == 1e-6
    told["text_config"]["hidden_act"] = "relu"
    beside.write_text(json.dumps(told))
    with pytest.raises(CheckpointError, match="hidden_act 'relu'; only gelu"):
        read_blip(path)


def test_a_config_json_of_something_else_stays_and_is_not_read(tmp_path: pathlib.Path) -> None:
    config, beside = square_config("caption", trimming=None), tmp_path / "config.json"
    beside.write_text('{"model": {"task": "caption"}}')
    files = write_huggingface(tmp_path / "model.safetensors", config, random_params(config))
    assert [file.name for file in files] == ["model.safetensors"]
    assert beside.read_text() == '{"model": {"task": "caption"}}'
    write_weights(files[0], read_weights(files[0]), {})
    assert read_blip(files[0], vision_heads=4, text_heads=4)[0].vision.epsilon == 1e-6  # the official code's


def test_what_transformers_does_not_have_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(ConfigError, match="Hugging Face BLIP has no model for 'nlvr2', only for vqa, caption, retr"):
        write_huggingface(path, tiny_config("nlvr2"), random_params(tiny_config("nlvr2")))
    with pytest.raises(ConfigError, match="needs image and text of one width, but these are 24 and 32 wide"):
        write_huggingface(path, tiny_config("vqa"), random_params(tiny_config("vqa")))
    with pytest.raises(ConfigError, match="transformers has no METER"):
        write_huggingface(path, meter_tiny(), {})
    scaled = dataclasses.replace(square_config("caption").vision, layer_scale=True)
    config = dataclasses.replace(square_config("caption", trimming=None), vision=scaled)
    for write in WRITERS.values():
        with pytest.raises(CheckpointError, match=r"2 parameters have no name in .*image/layers/attention_scale"):
            write(path, config, random_params(config))
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_task_or_width_is_one_sentence(tmp_path: pathlib.Path) -> None:
    config = square_config("caption", trimming=None)
    path = write_huggingface(tmp_path / "model.safetensors", config, random_params(config))[0]
    for task in ("vqa", "nlvr2"):
        with pytest.raises(CheckpointError, match=f"these Hugging Face BLIP .* for 'caption', not for '{task}'; use"):
            read_blip(path, task=task)
        with pytest.raises(CheckpointError, match=f"these Hugging Face BLIP .* for 'caption', not for '{task}'; use"):
            fill_from_file(path, square_config(task), {}, task)
    other = tiny_config("caption", text=dataclasses.replace(config.text, depth=1))
    with pytest.raises(CheckpointError) as error:
        fill_from_file(path, other, {}, "caption")
    assert "vision.width is 32, not 24; text.depth is 2, not 1; use the model's sizes" in str(error.value)


def test_names_that_do_not_fit_are_listed_all_at_once_as_they_are_in_the_file(tmp_path: pathlib.Path) -> None:
    config = square_config("caption", trimming=None)
    path = write_huggingface(tmp_path / "model.safetensors", config, random_params(config))[0]
    tensors = read_weights(path)
    del tensors["vision_model.encoder.layers.1.self_attn.projection.bias"]
    tensors["vision_model.post_layernorm.bias"] = np.zeros(5)
    tensors["vision_model.head.weight"] = np.zeros(5)
    write_weights(path, tensors, {})
    with pytest.raises(CheckpointError) as error:
        read_blip(path)
    message = str(error.value)
    assert "this Hugging Face BLIP checkpoint does not fit" in message
    assert "1 missing: vision_model.encoder.layers.1.self_attn.projection.bias" in message
    assert "vision_model.post_layernorm.bias is [5] instead of [32]" in message
    assert "1 unexpected: vision_model.head.weight" in message


def test_a_damaged_configuration_is_named(tmp_path: pathlib.Path) -> None:
    config = square_config("caption", trimming=None)
    path = write_official(tmp_path / "blip.safetensors", config, random_params(config))[0]
    write_weights(path, read_weights(path), {CONFIG: '{"task": "captions"}'})
    with pytest.raises(CheckpointError, match=r"the configuration in '.*blip.safetensors' cannot be read"):
        read_blip(path)
