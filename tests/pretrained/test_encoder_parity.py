"""The encoders equal those of Hugging Face's transformers, inside a METER that runs them."""

import pathlib
from typing import Any

import numpy as np
import pytest
from encoder_states import encoder_states
from flax.traverse_util import flatten_dict
from fresh_params import fresh_params
from hub_models import randomised, saved

from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.models.meter import FusionConfig, MeterConfig
from smarttrim_jax.pretrained import load_encoder, with_encoders
from smarttrim_jax.pretrained.encoder_tables import FAMILIES
from smarttrim_jax.pretrained.files import read_weights

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
TEXT = SIZES | {"vocab_size": 60, "max_position_embeddings": 24, "attn_implementation": "eager"}
IMAGE = {"image_size": 32, "patch_size": 8, "attn_implementation": "eager"}
LENGTHS = (12, 7, 2)


@pytest.fixture(scope="module")
def models(hub: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, pathlib.Path]]:
    """Every family's model, and the file it wrote."""
    made = {
        "clip": hub.CLIPVisionModel(hub.CLIPVisionConfig(**SIZES, **IMAGE)),
        "dinov2": hub.Dinov2Model(hub.Dinov2Config(**SIZES, **IMAGE, mlp_ratio=2)),
        "roberta": hub.RobertaModel(
            hub.RobertaConfig(**TEXT, pad_token_id=1, type_vocab_size=1, layer_norm_eps=1e-5)
        ),
        "bert": hub.BertModel(hub.BertConfig(**TEXT)),
    }
    return {name: (randomised(model), saved(model, tmp_path_factory.mktemp(name))) for name, model in made.items()}


def inputs(pad: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    mask = (np.arange(12) < np.array(LENGTHS)[:, None]).astype(np.int32)
    ids = np.where(mask, rng.integers(4, 60, mask.shape), pad).astype(np.int32)
    return rng.normal(size=(3, size, size, 3)).astype(np.float32), ids, mask


def ours(image: pathlib.Path, text: pathlib.Path, images: Any, ids: Any, mask: Any, **vision: Any) -> dict[str, Any]:
    """States of a METER made of these encoders."""
    fusion = FusionConfig(width=16, depth=1, heads=2, mlp_width=16)
    encoders = load_encoder(image, **vision)[0], load_encoder(text)[0]
    config = MeterConfig(*encoders, fusion, heads=(HeadConfig("itm", "linear"),))
    fresh = fresh_params(config)
    return encoder_states(config, with_encoders(config, fresh, image=image, text=text), images, ids, mask)


def theirs(model: Any, **arrays: Any) -> Any:
    import torch

    tensors = {name: torch.tensor(array) for name, array in arrays.items() if isinstance(array, np.ndarray)}
    with torch.no_grad():
        return model(**tensors, output_hidden_states=True, **{k: v for k, v in arrays.items() if k not in tensors})


def assert_same_text(states: Any, model: Any, ids: np.ndarray, mask: np.ndarray) -> None:
    expected = theirs(model, input_ids=ids, attention_mask=mask).last_hidden_state.numpy()
    for row, length in enumerate(LENGTHS):  # what stands in the place of padding is nobody's business
        np.testing.assert_allclose(states[row, :length], expected[row, :length], atol=1e-4)


def test_clip_and_roberta_equal_transformers(models: Any) -> None:
    (clip, image), (roberta, text) = models["clip"], models["roberta"]
    images, ids, mask = inputs(pad=1, size=32)
    states = ours(image, text, images, ids, mask)
    expected = theirs(clip, pixel_values=images.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(states["image"], expected.last_hidden_state, atol=1e-4)
    np.testing.assert_allclose(states["normed"][:, 0], expected.pooler_output, atol=1e-4)
    assert_same_text(states["text"], roberta, ids, mask)


def test_meters_clip_without_its_last_block_and_bert_equal_transformers(models: Any) -> None:
    import torch

    (clip, image), (bert, text) = models["clip"], models["bert"]
    images, ids, mask = inputs(pad=0, size=32)
    states = ours(image, text, images, ids, mask, depth=2)
    hidden = theirs(clip, pixel_values=images.transpose(0, 3, 1, 2)).hidden_states[2]
    with torch.no_grad():
        expected = clip.post_layernorm(hidden)
    np.testing.assert_allclose(states["normed"], expected, atol=1e-4)
    assert_same_text(states["text"], bert, ids, mask)


@pytest.mark.parametrize(("size", "grid"), [(32, 0), (48, 0), (48, 4)])
def test_dinov2_equals_transformers_at_any_size(models: Any, size: int, grid: int) -> None:
    (dinov2, image), (_, text) = models["dinov2"], models["bert"]
    images, ids, mask = inputs(pad=0, size=size)
    states = ours(image, text, images, ids, mask, image_size=size, position_grid=grid)
    expected = theirs(dinov2, pixel_values=images.transpose(0, 3, 1, 2)).last_hidden_state
    np.testing.assert_allclose(states["normed"], expected, atol=1e-4)


@pytest.mark.parametrize("name", ["clip", "dinov2", "roberta", "bert"])
def test_theirs_to_ours_to_theirs_bit_for_bit(models: Any, name: str) -> None:
    path, family = models[name][1], FAMILIES[name]
    original = read_weights(path)
    written = family.table.write(flatten_dict({family.side: load_encoder(path)[1]}, sep="/"))
    unused = {"embeddings.mask_token", "pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"}
    assert original.keys() - unused == written.keys()
    for weight, tensor in written.items():
        np.testing.assert_array_equal(tensor, original[weight])


def test_a_larger_models_file_gives_the_same_encoder(hub: Any, tmp_path: pathlib.Path) -> None:
    config = hub.CLIPConfig(
        vision_config={**SIZES, **IMAGE},
        text_config={**SIZES, "vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2},
        projection_dim=16,
    )
    whole = randomised(hub.CLIPModel(config))
    _, params = load_encoder(saved(whole, tmp_path / "clip"))
    state = whole.vision_model.state_dict()
    np.testing.assert_array_equal(params["last_norm"]["scale"], state["post_layernorm.weight"])
    masked = randomised(hub.RobertaForMaskedLM(hub.RobertaConfig(**TEXT)))
    found, params = load_encoder(masked.state_dict(), heads=4)
    assert (found.position_rule, found.pad_id, found.token_types) == ("roberta", 1, 2)
    weights = masked.roberta.state_dict()["embeddings.word_embeddings.weight"]
    np.testing.assert_array_equal(params["word_embedding"]["embedding"], weights)
