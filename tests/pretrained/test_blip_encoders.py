"""A BLIP that begins with pretrained encoders computes what they compute, and keeps what they do not have."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from encoder_states import encoder_states
from flax.traverse_util import flatten_dict

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.models.blip import BlipConfig
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.models.meter import FusionConfig, MeterConfig
from smarttrim_jax.nn.text import TextConfig
from smarttrim_jax.nn.vision import VisionConfig
from smarttrim_jax.pretrained import with_blip_encoders
from smarttrim_jax.pretrained.encoder_tables import FAMILIES

WORDS, DEPTH = 40, 3
IMAGE = VisionConfig(
    image_size=32,
    patch_size=8,
    width=24,
    depth=2,
    heads=4,
    mlp_width=48,
    activation="gelu",
    epsilon=1e-6,
    pre_norm=False,
    patch_bias=True,
    layer_scale=True,
)
SIZES: dict[str, Any] = {"width": 32, "depth": DEPTH, "heads": 4, "mlp_width": 48, "max_positions": 16}
BERT: dict[str, Any] = {"position_rule": "bert", "pad_id": 0, "epsilon": 1e-12, **SIZES}
METER = MeterConfig(
    IMAGE,
    TextConfig(vocab_size=WORDS, token_types=2, **BERT),
    FusionConfig(width=8, depth=1, heads=1, mlp_width=8),
    heads=(HeadConfig("vqa", "classifier", 2),),
)


def blip(task: Any) -> BlipConfig:
    text = TextConfig(vocab_size=WORDS + 2, token_types=0, **BERT)
    return BlipConfig(task=task, vision=IMAGE, text=text, first_merge=1, features=8)


def random_params(config: Any, seed: int) -> Any:
    shapes, random = jax.eval_shape(Functional(config).init, jax.random.key(0)), np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape, scale=0.3), jnp.float32), shapes)


@pytest.fixture(scope="module")
def encoders() -> Any:
    return random_params(METER, 0)


@pytest.fixture(scope="module")
def official(encoders: Any) -> dict[str, dict[str, np.ndarray]]:
    return {
        side: FAMILIES[family].table.write(flatten_dict({side: encoders[side]}, sep="/"))
        for side, family in (("image", "dinov2"), ("text", "bert"))
    }


@pytest.mark.slow
def test_images_and_texts_on_their_own_are_the_encoders(encoders: Any, official: dict[str, Any]) -> None:
    random, config = np.random.default_rng(1), blip("retrieval")
    images = random.normal(size=(3, 32, 32, 3)).astype(np.float32)
    mask = (np.arange(9) < random.integers(2, 10, (3, 1))).astype(np.int32)
    ids = np.where(mask, random.integers(1, WORDS, mask.shape), 0)
    expected = encoder_states(METER, encoders, images, ids, mask)
    params = with_blip_encoders(config, random_params(config, 2), **official)
    model = Functional(config)
    image = model.apply(params, images, method="encode_images").tokens.values
    text = model.apply(params, ids, mask, method="encode_texts").tokens.values
    np.testing.assert_allclose(image, expected["normed"], atol=1e-4)
    np.testing.assert_allclose(text * mask[..., None], expected["text"] * mask[..., None], atol=1e-4)


@pytest.mark.parametrize("task", ["vqa", "nlvr2", "caption"])
def test_all_text_models_take_the_layers_and_keep_the_rest(
    task: str, encoders: Any, official: dict[str, Any]
) -> None:
    config = blip(task)
    fresh = random_params(config, 2)
    params = with_blip_encoders(config, fresh, **official)
    chex.assert_trees_all_equal_shapes(params, fresh)
    for name in {"text", "decoder"} & set(params):
        parts = [params[name][part] for part in ("layers", "merge_layers") if part in params[name]]
        for part in ("attention", "attention_norm", "mlp", "mlp_norm"):
            found = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(layers[part] for layers in parts))
            chex.assert_trees_all_equal(found, encoders["text"]["layers"][part])
        words = params[name]["word_embedding"]["embedding"]
        np.testing.assert_array_equal(words[WORDS:], fresh[name]["word_embedding"]["embedding"][WORDS:])
        chex.assert_trees_all_equal(
            params[name]["layers"]["cross_attention"], fresh[name]["layers"]["cross_attention"]
        )
    if task != "nlvr2":
        chex.assert_trees_all_equal(params["decoder"]["dense"], fresh["decoder"]["dense"])


def test_weights_of_another_vocabulary_are_refused(official: dict[str, Any]) -> None:
    config = blip("caption")
    short = official["text"] | {
        name: tensor[:-1] for name, tensor in official["text"].items() if "word_embeddings" in name
    }
    with pytest.raises(CheckpointError, match="vocab_size is 39, not 40"):
        with_blip_encoders(config, {}, text=short)
