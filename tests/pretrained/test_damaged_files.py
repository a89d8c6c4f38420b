"""Files that are damaged, or are none: one sentence from every reader, and nothing else."""

import json
import os
import pathlib
import struct
from typing import Any

import jax
import numpy as np
import pytest
from official_blip_names import official_shapes

from smarttrim_jax.errors import CheckpointError, ConfigError
from smarttrim_jax.pretrained import load_encoder, read_blip, read_official, read_weights
from smarttrim_jax.pretrained.files import write_weights

READERS = {"read_weights": read_weights, "blip": read_blip, "official": read_official, "encoder": load_encoder}
HEADS = {"vision_heads": 3, "text_heads": 5}


def blip_tensors() -> dict[str, np.ndarray]:
    random, shapes = np.random.default_rng(0), official_shapes("caption")
    tensors = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {name: tensor for name, tensor in tensors.items() if ".predictions.decoder." not in name}


def write_raw(path: pathlib.Path, header: Any, data: bytes = b"", length: int | None = None) -> pathlib.Path:
    """A safetensors file of any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(kind: str, shape: list[int], *offsets: int) -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": list(offsets)}


def make(kind: str, folder: pathlib.Path) -> pathlib.Path:
    """A file, or something else, that no reader can read."""
    path = folder / "model.safetensors"
    float4 = entry("F32", [1], 0, 4)
    if kind == "a folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("version https://git-lfs.github.com/spec/v1\n" * 5)
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a loop of links":
        path.symlink_to(path)
    elif kind == "a header beyond the file":
        write_raw(path, {"a": float4}, bytes(4), 2**40)
    elif kind == "a header of 2^62 bytes":
        write_raw(path, {"a": float4}, bytes(4), 2**62)
    elif kind == "overlapping tensors":
        write_raw(path, {"a": float4, "b": float4}, bytes(4))
    elif kind == "offsets beyond the file":
        write_raw(path, {"a": entry("F32", [2**40], 0, 2**42)}, bytes(4))
    elif kind == "one name twice":
        one, two = (json.dumps(entry("F32", [1], start, start + 4)) for start in (0, 4))
        write_raw(path, f'{{"a": {one}, "a": {two}}}'.encode(), bytes(8))
    elif kind == "8-bit floats":
        write_raw(path, {"visual_encoder.norm.weight": entry("F8_E4M3", [4], 0, 4)}, bytes(4))
    elif kind == "a name of 300 letters":
        return folder / f"{'a' * 300}.safetensors"
    return path


KINDS = (
    "nothing",
    "a folder",
    "empty",
    "text",
    "a pipe",
    "a loop of links",
    "a header beyond the file",
    "a header of 2^62 bytes",
    "overlapping tensors",
    "offsets beyond the file",
    "one name twice",
    "8-bit floats",
    "a name of 300 letters",
)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_reader_says_what_is_wrong_in_a_sentence(kind: str, reader: str, tmp_path: pathlib.Path) -> None:
    path = make(kind, tmp_path)
    with pytest.raises(CheckpointError) as error:
        READERS[reader](path)
    message = str(error.value)
    assert "\n" not in message
    assert path.name in message or "weight 'visual_encoder.norm.weight' is F8" in message


@pytest.mark.parametrize(
    "shard", ["../model.safetensors", "/etc/model.safetensors", "config.json", 3, "x.index.json"]
)
def test_an_index_names_weight_files_beside_it_alone(shard: Any, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    write_weights(tmp_path / "model.safetensors", {"a": np.ones(1)}, {})
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(CheckpointError, match=r"names the file|is no index of weight files"):
        read_weights(index)


def test_weights_in_several_files_are_one_checkpoint(tmp_path: pathlib.Path) -> None:
    parts = {"one.safetensors": {"a": np.ones(1)}, "two.safetensors": {"b": np.zeros(2)}}
    for name, tensors in parts.items():
        write_weights(tmp_path / name, tensors, {})
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    assert read_weights(index).keys() == {"a", "b"}
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "one.safetensors"}}))
    with pytest.raises(CheckpointError, match="promises the weight 'b', which no file holds"):
        read_weights(index)
    index.write_text(json.dumps({"weight_map": {"a": "three.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"three.safetensors' is missing"):
        read_weights(index)
    index.write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="is no index of weight files"):
        read_weights(index)


@pytest.mark.parametrize("content", ["[]", "3", '{"vision_config": [], "model_type": "blip"}', "[" * 100_000])
def test_a_config_json_of_another_form_is_named(content: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "model.safetensors"
    write_weights(path, blip_tensors(), {})
    (tmp_path / "config.json").write_text(content)
    if content.startswith("{"):
        assert read_blip(path, **HEADS)[0].task == "caption"  # an empty section tells nothing
    else:
        with pytest.raises(CheckpointError, match=r"config.json' is (no configuration|damaged)"):
            read_blip(path, **HEADS)
    (tmp_path / "config.json").write_text('{"model_type": "blip", "text_config": {"num_attention_heads": "many"}}')
    with pytest.raises(CheckpointError, match="num_attention_heads 'many', which is no number in range"):
        read_blip(path, **HEADS)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.full(24, np.nan, np.float32), "holds 24 numbers that are not finite"),
        (np.full(24, 1e300), "holds 24 numbers that are not finite in float32"),
        (np.ones(24, np.int32), "is int32, but weights are floating-point"),
        (np.ones(24, np.complex64), "is complex64, but weights"),
        (np.ones(24, bool), "is bool, but weights"),
        (np.ones(0, np.float32), r"norm.weight is \[0\] instead of \[24\]"),
    ],
)
def test_numbers_that_are_no_weights_are_named(weight: np.ndarray, message: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "model.safetensors"
    write_weights(path, blip_tensors() | {"visual_encoder.norm.weight": weight}, {})
    with pytest.raises(CheckpointError, match=message) as error:
        read_blip(path, **HEADS)
    assert "visual_encoder.norm.weight" in str(error.value)


def test_a_weight_that_tells_a_size_has_one(tmp_path: pathlib.Path) -> None:
    path, tensors = tmp_path / "model.safetensors", blip_tensors()
    words = "text_decoder.bert.embeddings.word_embeddings.weight"
    write_raw(path, {words: entry("F32", [2**40, 0], 0, 0)})
    with pytest.raises(CheckpointError, match="not an official BLIP checkpoint"):
        read_blip(path)
    write_weights(path, tensors | {words: np.zeros((4, 0), np.float32)}, {})
    with pytest.raises(CheckpointError, match="2 axes, none of them 0"):
        read_blip(path)


@pytest.mark.parametrize("number", ["4", "1000000000000", "9" * 5000])
def test_layers_of_which_some_are_missing_fill_no_memory(number: str, tmp_path: pathlib.Path) -> None:
    path, tensors = tmp_path / "model.safetensors", blip_tensors()
    write_weights(path, tensors | {f"visual_encoder.blocks.{number}.norm1.bias": np.zeros(24, np.float32)}, {})
    with pytest.raises(CheckpointError, match=r"layer 'visual_encoder.blocks.2' is missing"):
        read_blip(path, **HEADS)


def test_random_damage_is_refused_or_leaves_the_weights_as_they_were(tmp_path: pathlib.Path) -> None:
    """Where bytes of numbers change, other numbers are read: only names and places are checked here."""
    path, random, tensors = tmp_path / "model.safetensors", np.random.default_rng(0), blip_tensors()
    write_weights(path, tensors, {})
    whole = path.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    messages = []
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(0, header, random.integers(1, 4)):
            damaged[place] = random.integers(256)
        if random.random() < 0.3:
            del damaged[random.integers(len(damaged)) :]
        path.write_bytes(damaged)
        try:
            found = read_weights(path)
        except CheckpointError as error:
            messages.append(str(error))
            continue
        for name, tensor in found.items():
            if name in tensors and tensor.dtype == tensors[name].dtype and tensor.shape == tensors[name].shape:
                np.testing.assert_array_equal(tensor, tensors[name])
    assert len(messages) > 200
    assert "\n" not in "".join(messages)


@pytest.mark.slow
def test_random_changes_of_names_and_shapes_never_end_in_a_traceback(tmp_path: pathlib.Path) -> None:
    random, whole, messages = np.random.default_rng(1), blip_tensors(), []
    for _ in range(100):
        tensors = dict(whole)
        for _ in range(random.integers(1, 3)):
            name = str(random.choice(list(tensors)))
            tensor = tensors.pop(name)
            how = random.integers(4)
            if how == 0:
                tensors[name.replace("0", "7", 1)] = tensor
            elif how == 1:
                tensors[name] = tensor[..., :0]
            elif how == 2:
                tensors[name] = tensor[None]
            else:
                tensors[name] = tensor.astype(random.choice([np.float16, np.int8, np.complex64]))
        path = tmp_path / "model.safetensors"
        write_weights(path, tensors, {})
        try:
            config, params = read_blip(path, task="caption", **HEADS)
        except (CheckpointError, ConfigError) as error:
            messages.append(str(error))
        else:
            assert config.text.depth == 4
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    assert len(messages) > 50
    assert "\n" not in "".join(messages)
