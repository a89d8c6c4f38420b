"""`load_encoder`: every table there and back, sizes and traits, and errors that name everything at once."""

import dataclasses
import json
import pathlib
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from fresh_params import fresh_params

from smarttrim_jax.errors import CheckpointError, ConfigError
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.models.meter import FusionConfig, MeterConfig
from smarttrim_jax.nn.positions import resize_positions
from smarttrim_jax.nn.text import TextConfig
from smarttrim_jax.nn.vision import VisionConfig
from smarttrim_jax.pretrained import from_official, load_encoder, with_encoders
from smarttrim_jax.pretrained.encoder_tables import FAMILIES
from smarttrim_jax.pretrained.files import write_weights

CLIP = VisionConfig(image_size=32, patch_size=8, width=32, depth=3, heads=4, mlp_width=64)
DINOV2 = dataclasses.replace(CLIP, activation="gelu", epsilon=1e-6, pre_norm=False, patch_bias=True, layer_scale=True)
ROBERTA = TextConfig(vocab_size=50, width=32, depth=2, heads=4, mlp_width=64, max_positions=20)
BERT = dataclasses.replace(ROBERTA, position_rule="bert", pad_id=0, token_types=2, epsilon=1e-12)
CONFIGS = {"clip": CLIP, "openai_clip": CLIP, "dinov2": DINOV2, "roberta": ROBERTA, "bert": BERT}
PREFIXES = {name: family.prefixes[0] for name, family in FAMILIES.items()}


def meter(image: VisionConfig = CLIP, text: TextConfig = ROBERTA) -> MeterConfig:
    fusion = FusionConfig(width=16, depth=1, heads=2, mlp_width=16)
    return MeterConfig(image, text, fusion, heads=(HeadConfig("vqa", "classifier", 3),))


@pytest.fixture(scope="module")
def fresh() -> dict[str, Any]:
    """Fresh parameters of both METERs, by the family of their encoders."""
    first = fresh_params(meter(), 0)
    second = fresh_params(meter(DINOV2, BERT), 1)
    return {"clip": first, "openai_clip": first, "roberta": first, "dinov2": second, "bert": second}


@pytest.fixture(scope="module")
def official(fresh: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """The tensors of every family, by official name."""
    return {
        name: family.table.write(flatten_dict({family.side: fresh[name][family.side]}, sep="/"))
        for name, family in FAMILIES.items()
    }


@pytest.mark.parametrize("prefixed", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_recognised_and_comes_back_bit_for_bit(
    fresh: dict[str, Any], official: dict[str, Any], name: str, prefixed: bool
) -> None:
    prefix = PREFIXES[name] if prefixed else ""
    tensors = {prefix + weight: tensor for weight, tensor in official[name].items()}
    config, params = load_encoder(tensors, heads=4)
    assert config == CONFIGS[name]
    side = FAMILIES[name].side
    chex.assert_trees_all_equal(params, fresh[name][side])
    chex.assert_trees_all_equal(FAMILIES[name].table.write(flatten_dict({side: params}, sep="/")), official[name])


def test_openais_names_are_those_of_the_official_meter(official_weights: dict[str, np.ndarray]) -> None:
    _, expected = from_official(official_weights, text_heads=4, fusion_heads=5)
    names = [name for name in official_weights if name.startswith("vit_model.")]
    clip = {name.removeprefix("vit_model."): official_weights[name] for name in names}
    # the text side of CLIP, whose names look like the image side's
    clip |= {"transformer.resblocks.0.ln_1.weight": np.zeros(64), "visual.proj": np.zeros((128, 64))}
    config, params = load_encoder(clip)
    assert (config.depth, config.width, config.image_size) == (3, 128, 64)
    chex.assert_trees_all_equal(params, expected["image"])
    _, shorter = load_encoder(clip, depth=2)
    chex.assert_trees_all_equal(shorter["layers"], jax.tree.map(lambda leaf: leaf[:2], expected["image"]["layers"]))


def test_encoders_take_their_places_in_a_meter_and_nothing_else_changes(
    fresh: dict[str, Any], official: dict[str, Any]
) -> None:
    config = meter(dataclasses.replace(DINOV2, depth=2, image_size=64, position_grid=4), BERT)
    start = fresh_params(config, 7)
    params = with_encoders(config, start, image=official["dinov2"], text=official["bert"])
    layers = jax.tree.map(lambda leaf: leaf[:2], fresh["dinov2"]["image"]["layers"])
    chex.assert_trees_all_equal(params["image"], fresh["dinov2"]["image"] | {"layers": layers})
    chex.assert_trees_all_equal(params["text"], fresh["bert"]["text"])
    others = set(start) - {"image", "text"}
    chex.assert_trees_all_equal({name: params[name] for name in others}, {name: start[name] for name in others})
    only_text = with_encoders(config, start, text=official["bert"])
    chex.assert_trees_all_equal(only_text["image"], start["image"])


def test_another_image_size_resizes_the_position_table(official: dict[str, Any]) -> None:
    for name, names in {
        "clip": "embeddings.position_embedding.weight",
        "dinov2": "embeddings.position_embeddings",
    }.items():
        table = jnp.asarray(official[name][names]).reshape(17, 32)
        config, params = load_encoder(official[name], heads=4, image_size=48)
        assert config.image_size == 48
        np.testing.assert_array_equal(params["position_embedding"], resize_positions(table, (6, 6)))
        _, params = load_encoder(official[name], heads=4, image_size=48, position_grid=4)
        np.testing.assert_array_equal(params["position_embedding"], table)


def test_older_names_of_the_same_weights_are_known(fresh: dict[str, Any], official: dict[str, Any]) -> None:
    old = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in official["bert"].items()
    }
    old["cls.predictions.bias"] = np.zeros(50)
    old["bert.pooler.dense.weight"] = np.zeros((32, 32))
    chex.assert_trees_all_equal(load_encoder(old, heads=4)[1], fresh["bert"]["text"])
    modules = {"query": "attention.q_proj", "key": "attention.k_proj", "value": "attention.v_proj"}
    new = {}
    for name, tensor in official["dinov2"].items():
        for part, module in modules.items():
            name = name.replace(f"attention.attention.{part}", module)
        new[name.replace("attention.output.dense", "attention.o_proj")] = tensor
    assert "encoder.layer.0.attention.q_proj.weight" in new
    chex.assert_trees_all_equal(load_encoder(new, heads=4)[1], fresh["dinov2"]["image"])


@pytest.fixture
def folder(tmp_path: pathlib.Path, official: dict[str, Any]) -> Any:
    """Makes a folder of Hugging Face: weights, and this config.json."""

    def make(name: str, **hub: Any) -> pathlib.Path:
        write_weights(tmp_path / "model.safetensors", official[name], {})
        (tmp_path / "config.json").write_text(json.dumps(hub))
        return tmp_path / "model.safetensors"

    return make


def test_a_config_beside_the_file_tells_what_shapes_do_not(folder: Any) -> None:
    hub = {"num_attention_heads": 8, "layer_norm_eps": 1e-7, "hidden_act": "gelu"}
    config, _ = load_encoder(folder("clip", vision_config=hub, hidden_act="relu"))
    assert (config.heads, config.epsilon, config.activation) == (8, 1e-7, "gelu")
    hub = {"num_attention_heads": 2, "pad_token_id": 3, "hidden_dropout_prob": 0.2, "model_type": "roberta"}
    config, _ = load_encoder(folder("bert", **hub), epsilon=1e-9)
    assert (config.heads, config.pad_id, config.dropout, config.epsilon) == (2, 3, 0.2, 1e-9)
    assert config.position_rule == "roberta"
    config, _ = load_encoder(folder("bert"), heads=4)
    assert config == BERT


def test_what_cannot_be_computed_is_refused(folder: Any) -> None:
    with pytest.raises(CheckpointError, match=r"hidden_act 'gelu_new'; only gelu, quick_gelu"):
        load_encoder(folder("clip", hidden_act="gelu_new"))
    with pytest.raises(CheckpointError, match=r"position_embedding_type 'relative_key'"):
        load_encoder(folder("bert", position_embedding_type="relative_key"))
    path = folder("bert")
    path.with_name("config.json").write_text('{"num_att')
    with pytest.raises(CheckpointError, match=r"config.json' is damaged"):
        load_encoder(path)


def test_weights_that_do_not_fit_are_listed_all_at_once(official: dict[str, Any]) -> None:
    tensors = {f"vision_model.{name}": tensor for name, tensor in official["clip"].items()}
    del tensors["vision_model.post_layernorm.bias"], tensors["vision_model.encoder.layers.2.mlp.fc1.bias"]
    tensors["vision_model.pre_layrnorm.weight"] = np.zeros(33)
    tensors |= {"vision_model.extra": np.zeros(1), "audio_model.weight": np.zeros(1), "logit_scale": np.zeros(())}
    with pytest.raises(CheckpointError) as error:
        load_encoder(tensors, heads=4)
    message = str(error.value)
    assert "this CLIP checkpoint does not fit" in message
    assert "2 missing: post_layernorm.bias, encoder.layers.2.mlp.fc1.bias" in message
    assert "2 unexpected: audio_model.weight, extra" in message
    assert "1 misshaped: pre_layrnorm.weight is [33] instead of [32]" in message


def test_weights_of_another_encoder_than_the_models_are_named(official: dict[str, Any]) -> None:
    other = dataclasses.replace(DINOV2, width=64, mlp_width=128)
    with pytest.raises(CheckpointError, match=r"width is 32, not 64.*activation is 'quick_gelu', not 'gelu'"):
        load_encoder(official["clip"], like=other)
    with pytest.raises(CheckpointError, match=r"RoBERTa weights are of the text encoder, not the image's"):
        load_encoder(official["roberta"], like=CLIP)
    with pytest.raises(CheckpointError, match=r"hold 3 layers, not 4; use depth=3 or less"):
        load_encoder(official["clip"], like=dataclasses.replace(CLIP, depth=4))


def test_wrong_questions_are_answered(official: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"image width 32 does not divide into heads of 64; .* as 'heads'"):
        load_encoder(official["clip"])
    with pytest.raises(ConfigError, match=r"unknown override 'width'; accepted: image_size, depth, heads"):
        load_encoder(official["clip"], width=64)
    with pytest.raises(ConfigError, match=r"'epsilon' cannot be set beside `like`"):
        load_encoder(official["clip"], like=CLIP, epsilon=1e-3)
    with pytest.raises(ConfigError, match=r"unknown family 'vit'; known are: clip, openai_clip, dinov2"):
        load_encoder(official["clip"], family="vit")
    with pytest.raises(CheckpointError, match=r"no weights of an encoder .*CLIP.*found weights of layer1, stem"):
        load_encoder({"stem.weight": 0, "layer1.0.weight": 0})
    cut = {name: part for name, part in official["bert"].items() if "position" not in name}
    with pytest.raises(CheckpointError, match=r"'embeddings.position_embeddings.weight' is missing from this BERT"):
        load_encoder(cut)
