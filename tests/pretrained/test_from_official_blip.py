"""`from_official_blip`: every task's checkpoint there and back, the configuration read off it, and clear errors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from official_blip_names import SIZES, official_shapes

from smarttrim_jax.errors import CheckpointError, ConfigError
from smarttrim_jax.models.blip import blip_base
from smarttrim_jax.models.blip.config import TASKS
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.nn.positions import resize_positions
from smarttrim_jax.pretrained import from_official_blip
from smarttrim_jax.pretrained.blip.table import blip_table
from smarttrim_jax.trimming.config import TrimmingConfig

HEADS = {"vision_heads": 3, "text_heads": 5}
TIED = {
    "text_decoder.cls.predictions.decoder.weight": "text_decoder.bert.embeddings.word_embeddings.weight",
    "text_decoder.cls.predictions.decoder.bias": "text_decoder.cls.predictions.bias",
}


def official(kind: str) -> dict[str, np.ndarray]:
    """A checkpoint of random numbers under the official names."""
    random = np.random.default_rng(0)
    tensors = {name: random.normal(size=shape).astype(np.float32) for name, shape in official_shapes(kind).items()}
    return tensors | {name: tensors[origin] for name, origin in TIED.items() if origin in tensors}


def path_shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    return {path: leaf.shape for path, leaf in flatten_dict(tree, sep="/").items()}


@pytest.mark.parametrize("task", TASKS)
def test_there_and_back_bit_for_bit(task):
    tensors = official(task)
    config, params = from_official_blip({"model": tensors, "epoch": 3}, task=task, **HEADS)
    assert path_shapes(params) == path_shapes(jax.eval_shape(Functional(config).init, jax.random.key(0)))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    written = blip_table(config).write(flatten_dict(params, sep="/"))
    left = {name for name in tensors if name not in written}
    assert all("_m." in name or "queue" in name or name.endswith("position_ids") for name in left)
    assert bool([name for name in left if "_m." in name]) == (task == "retrieval")
    assert written.keys() <= tensors.keys()
    for name, tensor in written.items():
        np.testing.assert_array_equal(tensor, tensors[name], err_msg=name)


@pytest.mark.parametrize("task", TASKS)
def test_every_size_is_read_off_the_weights(task):
    config, _ = from_official_blip(official(task), task=task, **HEADS)
    vision, text = config.vision, config.text
    assert config.task == task
    assert (vision.image_size, vision.patch_size, vision.width) == (64, 16, SIZES.vision_width)
    assert (vision.depth, vision.heads, vision.mlp_width) == (SIZES.vision_depth, 3, SIZES.vision_mlp)
    assert (vision.activation, vision.epsilon, vision.pre_norm, vision.patch_bias) == ("gelu", 1e-6, False, True)
    assert (text.vocab_size, text.width, text.depth, text.mlp_width) == (40, SIZES.width, SIZES.depth, SIZES.mlp)
    assert (text.max_positions, text.position_rule, text.token_types, text.epsilon) == (20, "bert", 0, 1e-12)
    assert (config.first_merge == SIZES.first_merge) == (task == "nlvr2")
    assert (config.features == SIZES.features) == (task == "retrieval")


# [CALC] of the name lists; millions of parameters, without trimmers.
@pytest.mark.parametrize(
    ("task", "millions"), [("nlvr2", 259.37), ("caption", 223.97), ("vqa", 361.48), ("retrieval", 223.7)]
)
def test_the_base_models_have_as_many_parameters_as_the_official_ones(task, millions):
    shapes = jax.eval_shape(Functional(blip_base(task)).init, jax.random.key(0))
    total = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) / 1e6
    np.testing.assert_allclose(total, millions, atol=0.05)


@pytest.mark.parametrize("task", TASKS)
def test_pre_training_serves_every_task(task):
    tensors = official("pretraining")
    config, params = from_official_blip(tensors, task=task, first_merge=2, **HEADS)
    assert path_shapes(params) == path_shapes(jax.eval_shape(Functional(config).init, jax.random.key(0)))
    if task == "caption":
        np.testing.assert_array_equal(params["decoder"]["bias"], tensors["text_decoder.cls.predictions.bias"])
    if task == "vqa":  # its decoder reads questions, which are of another width than images
        cross = params["decoder"]["layers"]["cross_attention"]
        name = "text_decoder.bert.encoder.layer.1.crossattention.self.query.weight"
        np.testing.assert_array_equal(cross["query"]["kernel"][1], tensors[name].T)
        assert cross["key"]["kernel"].shape == (SIZES.depth, SIZES.width, SIZES.width)


def test_two_images_are_read_as_one_was():
    tensors = official("pretraining")
    config, params = from_official_blip(tensors, task="nlvr2", first_merge=2, **HEADS)
    for start, stack in ((0, "layers"), (2, "merge_layers")):
        for attention in ("cross_attention", "twin_attention"):
            ours = params["text"][stack][attention]
            one = f"text_encoder.encoder.layer.{start}.crossattention"
            np.testing.assert_array_equal(ours["key"]["kernel"][0], tensors[f"{one}.self.key.weight"].T)
            np.testing.assert_array_equal(ours["out"]["kernel"][0], tensors[f"{one}.output.dense.weight"].T)
    assert np.std(params["text"]["merge_layers"]["merge"]["kernel"]) > 0
    assert np.std(params["head"]["dense"]["kernel"]) > 0
    names = [f"text_encoder.encoder.layer.3.crossattention.self{i}.query.weight" for i in (0, 1)]
    tuned = official("nlvr2")
    _, params = from_official_blip(tuned, task="nlvr2", **HEADS)
    for attention, name in zip(("cross_attention", "twin_attention"), names, strict=True):
        np.testing.assert_array_equal(params["text"]["merge_layers"][attention]["query"]["kernel"][1], tuned[name].T)
    default, _ = from_official_blip(tensors, task="nlvr2", **HEADS)
    assert default.first_merge == config.text.depth  # six would be beyond these few layers


@pytest.mark.slow
def test_two_images_that_are_the_same_give_what_one_gives_and_each_is_read_by_its_own_attention():
    tensors = {name: 0.3 * tensor for name, tensor in official("pretraining").items()}
    single, one = from_official_blip(tensors, task="retrieval", **HEADS)
    double, two = from_official_blip(tensors, task="nlvr2", first_merge=2, **HEADS)
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 2, 64, 64, 3)).astype(np.float32)
    ids, mask = random.integers(1, 40, (2, 5)), np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    half = jnp.broadcast_to(jnp.concatenate([jnp.eye(SIZES.width)] * 2) / 2, (2, 2 * SIZES.width, SIZES.width))
    two["text"]["merge_layers"]["merge"] = {"kernel": half, "bias": jnp.zeros((2, SIZES.width))}

    @jax.jit
    def read(params, left, right):
        output = Functional(double).apply(params, jnp.stack([left, right], axis=1), ids, mask)
        return output.state["text"].values

    expected = jax.jit(Functional(single).apply)(one, first, ids, mask).state["text"].values
    np.testing.assert_allclose(read(two, first, first), expected, atol=1e-5)
    assert np.abs(read(two, first, second) - expected).max() > 1e-2

    def without(attention):
        text = dict(two["text"])
        for stack in ("layers", "merge_layers"):
            text[stack] = text[stack] | {attention: jax.tree.map(jnp.zeros_like, text[stack][attention])}
        return two | {"text": text}

    np.testing.assert_array_equal(
        read(without("twin_attention"), first, second), read(without("twin_attention"), first, first)
    )
    np.testing.assert_array_equal(
        read(without("cross_attention"), first, second), read(without("cross_attention"), second, second)
    )


def test_another_image_size_resizes_the_position_table():
    tensors = official("caption")
    config, params = from_official_blip(tensors, task="caption", image_size=96, **HEADS)
    assert config.vision.image_size == 96
    table = resize_positions(jnp.asarray(tensors["visual_encoder.pos_embed"][0]), (6, 6))
    np.testing.assert_array_equal(params["image"]["position_embedding"], table)


def test_overrides_and_trimmers():
    plain_config, plain = from_official_blip(official("vqa"), task="vqa", **HEADS)
    more = {"dropout": 0.0, "drop_path": 0.2, "scan": True, "remat": "full", "dtype": "bfloat16"}
    config, params = from_official_blip(official("vqa"), task="vqa", trimming=TrimmingConfig(), **more, **HEADS)
    assert plain_config.trimming is None
    assert (config.text.dropout, config.vision.drop_path) == (0.0, 0.2)
    assert (config.scan, config.remat, config.dtype) == (True, "full", "bfloat16")
    assert params["trimmers"].keys() == {"image", "fusion_text", "fusion_image", "decoder_target"}
    jax.tree.map(np.testing.assert_array_equal, {name: params[name] for name in plain}, plain)


def test_what_cannot_be_read_is_refused():
    tensors = official("vqa")
    with pytest.raises(ConfigError, match="task is 'vcr'; a BLIP model's is one of vqa, nlvr2"):
        from_official_blip(tensors, task="vcr")
    with pytest.raises(ConfigError, match="unknown override 'heads'; accepted: image_size, vision_heads"):
        from_official_blip(tensors, task="vqa", heads=3)
    with pytest.raises(ConfigError, match=r"vision width 24 .* 'vision_heads'"):
        from_official_blip(tensors, task="vqa", text_heads=5)
    with pytest.raises(CheckpointError, match=r"not an official BLIP checkpoint.*found weights of cross, vit_model"):
        from_official_blip({"vit_model.visual.proj": 0, "cross": 0}, task="vqa")
    with pytest.raises(CheckpointError, match=r"another task: text_decoder, .* for 'vqa', not for 'retrieval'; use"):
        from_official_blip(tensors, task="retrieval", **HEADS)
    image = {name: part for name, part in tensors.items() if name.startswith("visual")}
    with pytest.raises(CheckpointError, match=r"no model for 'vqa': text_encoder, text_decoder is missing, found"):
        from_official_blip(image, task="vqa", **HEADS)
    with pytest.raises(ConfigError, match=r"not of one task; say which 'task': vqa, nlvr2"):
        from_official_blip(official("pretraining"), **HEADS)


def test_weights_that_do_not_fit_are_listed_all_at_once():
    tensors = official("vqa")
    del tensors["text_encoder.encoder.layer.1.crossattention.output.LayerNorm.bias"]
    tensors["visual_encoder.norm.bias"] = np.zeros(5)
    tensors["visual_encoder.head.weight"] = np.zeros(5)
    tensors["text_decoder.cls.predictions.decoder.bias"] = np.ones(40)
    with pytest.raises(CheckpointError) as error:
        from_official_blip(tensors, task="vqa", **HEADS)
    message = str(error.value)
    assert "this BLIP checkpoint" in message
    assert "1 missing: text_encoder.encoder.layer.1.crossattention.output.LayerNorm.bias" in message
    assert "visual_encoder.norm.bias is [5] instead of [24]" in message
    assert "1 unexpected: visual_encoder.head.weight" in message
    assert "predictions.decoder.bias is not text_decoder.cls.predictions.bias" in message
