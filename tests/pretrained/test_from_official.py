"""`from_official`: the configuration read off the weights, overrides, and errors that name what is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from smarttrim_jax.errors import CheckpointError, ConfigError
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.nn.positions import resize_positions
from smarttrim_jax.pretrained import from_official
from smarttrim_jax.pretrained.meter.table import METER
from smarttrim_jax.trimming.config import TrimmingConfig

SIZES = {"text_heads": 4, "fusion_heads": 5}


def shapes(tree):
    return {path: leaf.shape for path, leaf in flatten_dict(tree, sep="/").items()}


def test_every_size_is_read_off_the_weights(official_weights):
    config, params = from_official(official_weights, **SIZES)
    vision, text, fusion = config.vision, config.text, config.fusion
    assert (vision.image_size, vision.patch_size, vision.width) == (64, 16, 128)
    assert (vision.depth, vision.heads, vision.mlp_width) == (3, 2, 512)
    assert (text.vocab_size, text.width, text.depth, text.mlp_width) == (500, 96, 3, 384)
    assert (text.max_positions, text.token_types, text.max_length) == (42, 1, 40)
    assert (fusion.width, fusion.depth, fusion.mlp_width) == (80, 2, 320)
    assert config.images == 1
    assert [(head.name, head.kind, head.outputs) for head in config.heads] == [
        ("vqa", "classifier", 50),
        ("snli", "classifier", 3),
        ("itm", "linear", 2),
        ("mlm", "mlm", 500),
    ]
    assert shapes(params) == shapes(jax.eval_shape(Functional(config).init, jax.random.key(0)))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


def test_writing_back_gives_every_official_weight_but_the_leftovers(official_weights):
    _, params = from_official(official_weights, **SIZES)
    written = METER.write(flatten_dict(params, sep="/"))
    left = set(official_weights) - set(written)
    assert left == {
        "vit_model.positional_embedding",
        "vit_model.ln_final.weight",
        "vit_model.ln_final.bias",
        "text_transformer.embeddings.position_ids",
        "text_transformer.pooler.dense.weight",
        "text_transformer.pooler.dense.bias",
    }
    for name, tensor in written.items():
        np.testing.assert_array_equal(tensor, official_weights[name].astype(np.float32))


def test_a_lightning_checkpoint_is_unwrapped(official_weights):
    config, _ = from_official({"epoch": 3, "state_dict": official_weights}, **SIZES)
    assert config.vision.width == 128


def test_heads_are_64_wide_unless_said_otherwise(official_weights):
    with pytest.raises(ConfigError, match=r"text width 96 .* 'text_heads'"):
        from_official(official_weights)


def test_two_images_and_all_heads_are_recognised(official_weights):
    weights = {name: part for name, part in official_weights.items() if not name.startswith(("vqa", "snli", "itm"))}
    weights["token_type_embeddings.weight"] = np.arange(240.0).reshape(3, 80)
    weights |= {
        "nlvr2_classifier.0.weight": np.zeros((160, 320)),
        "nlvr2_classifier.0.bias": np.zeros(160),
        "nlvr2_classifier.1.weight": np.zeros(160),
        "nlvr2_classifier.1.bias": np.zeros(160),
        "nlvr2_classifier.3.weight": np.zeros((2, 160)),
        "nlvr2_classifier.3.bias": np.zeros(2),
        "rank_output.weight": np.zeros((1, 320)),
        "rank_output.bias": np.zeros(1),
    }
    config, params = from_official(weights, **SIZES)
    assert config.images == 2
    assert [head.name for head in config.heads] == ["nlvr2", "rank", "mlm"]
    np.testing.assert_array_equal(params["type_embedding"]["embedding"], weights["token_type_embeddings.weight"])


def test_another_image_size_resizes_the_position_table(official_weights):
    config, params = from_official(official_weights, image_size=96, **SIZES)
    assert config.vision.image_size == 96
    table = official_weights["vit_model.visual.positional_embedding"].astype(np.float32)
    np.testing.assert_array_equal(params["image"]["position_embedding"], resize_positions(jnp.array(table), (6, 6)))


def test_trimmers_start_fresh_and_open(official_weights):
    plain_config, plain = from_official(official_weights, **SIZES)
    config, params = from_official(official_weights, trimming=TrimmingConfig(), **SIZES)
    assert plain_config.trimming is None
    assert shapes(params) == shapes(jax.eval_shape(Functional(config).init, jax.random.key(0)))
    bias = params["trimmers"]["image"]["token"]["logits"]["projection"]["bias"]
    np.testing.assert_array_equal(bias, np.broadcast_to([2.5, -2.5], bias.shape))
    jax.tree.map(np.testing.assert_array_equal, {name: params[name] for name in plain}, plain)


def test_a_new_task_gets_a_fresh_head_a_copied_token_type_and_drops_other_heads(official_weights):
    heads = (HeadConfig("nlvr2", "classifier", 2),)
    config, params = from_official(official_weights, heads=heads, images=2, **SIZES)
    assert list(params["head"]) == ["nlvr2"]
    assert params["head"]["nlvr2"]["net"]["dense"]["kernel"].shape == (320, 160)
    assert np.std(params["head"]["nlvr2"]["net"]["dense"]["kernel"]) > 0
    kinds = params["type_embedding"]["embedding"]
    np.testing.assert_array_equal(kinds[2], kinds[1])
    assert config.images == 2


def test_the_ranking_head_starts_from_image_text_matching(official_weights):
    _, params = from_official(official_weights, heads=(HeadConfig("rank", "linear", 1),), **SIZES)
    kernel = params["head"]["rank"]["net"]["kernel"]
    np.testing.assert_array_equal(kernel[:, 0], official_weights["itm_score.fc.weight"][1].astype(np.float32))


def test_dropout_scan_and_dtype_are_overridable(official_weights):
    overrides = {"dropout": 0.0, "drop_path": 0.2, "scan": True, "remat": "full", "dtype": "bfloat16"}
    config, _ = from_official(official_weights, **overrides, **SIZES)
    assert (config.text.dropout, config.fusion.dropout, config.vision.drop_path) == (0.0, 0.0, 0.2)
    assert (config.scan, config.remat, config.dtype) == (True, "full", "bfloat16")


def test_an_unknown_override_is_refused_with_the_accepted_ones(official_weights):
    with pytest.raises(ConfigError, match="unknown override 'num_heads'; accepted: image_size, vision_heads"):
        from_official(official_weights, num_heads=3)


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (
            {"visual_encoder.cls_token": 0, "text_encoder.embeddings.LayerNorm.bias": 0},
            "text_encoder, visual_encoder",
        ),
        ({"model": {}, "optimizer": {}}, "model, optimizer"),
        ({}, "nothing"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_with_what_was_found(other, found):
    with pytest.raises(CheckpointError, match=f"not an official METER checkpoint.*found weights of {found}"):
        from_official(other)


def test_weights_that_do_not_fit_are_listed_all_at_once(official_weights):
    del official_weights["cross_modal_image_layers.1.crossattention.output.LayerNorm.bias"]
    official_weights["cross_modal_image_pooler.dense.weight"] = np.zeros((80, 81))
    official_weights["vit_model.visual.proj"] = np.zeros((128, 64))
    with pytest.raises(CheckpointError) as error:
        from_official(official_weights, **SIZES)
    message = str(error.value)
    assert "1 missing: cross_modal_image_layers.1.crossattention.output.LayerNorm.bias" in message
    assert "cross_modal_image_pooler.dense.weight is [80, 81] instead of [80, 80]" in message
    assert "1 unexpected: vit_model.visual.proj" in message


def test_a_vocabulary_of_another_size_is_refused(official_weights):
    with pytest.raises(CheckpointError, match=r"word_embeddings.weight is \[500, 96\] instead of \[501, 96\]"):
        from_official(official_weights, vocab_size=501, **SIZES)


def test_a_missing_size_and_damaged_positions_are_named(official_weights):
    positions = "vit_model.visual.positional_embedding"
    cut = official_weights | {positions: official_weights[positions][:-1]}
    with pytest.raises(CheckpointError, match="16 rows"):
        from_official(cut, **SIZES)
    del official_weights["cross_modal_text_transform.weight"]
    with pytest.raises(CheckpointError, match=r"'cross_modal_text_transform.weight' is missing"):
        from_official(official_weights, **SIZES)
