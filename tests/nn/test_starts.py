"""The initial values: what they promise about a model that has learnt nothing yet."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from smarttrim_jax.nn import starts
from smarttrim_jax.nn.layers import PostNormLayer, PreNormLayer
from smarttrim_jax.nn.vision import VisionConfig, VisionTransformer
from smarttrim_jax.tokens import Padded


def vision(**sizes: int) -> VisionTransformer:
    config = VisionConfig(image_size=24, patch_size=6, width=32, depth=2, heads=4, mlp_width=64, **sizes)
    return VisionTransformer(config, dtype=jnp.float32, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("grey", [-2.0, 0.5, 2.0])
def test_patches_of_one_grey_embed_to_their_positions(grey: float) -> None:
    encoder = vision()
    tokens = encoder.patch_embedding(jnp.full((5, 3 * 6**2), grey))
    chex.assert_trees_all_close(tokens, jnp.zeros_like(tokens), atol=1e-5)


@pytest.mark.parametrize("width", [32, 30])
@pytest.mark.parametrize("grid", [2, 6, 9])
def test_every_place_has_a_position_of_its_own(grid: int, width: int) -> None:
    table = np.asarray(starts.position_table(grid, width))
    assert table.shape == (1 + grid**2, width)
    assert not table[0].any()
    distances = np.linalg.norm(table[:, None] - table[None], axis=-1)
    assert distances[~np.eye(len(table), dtype=bool)].min() > 0.5


def test_near_places_have_similar_positions() -> None:
    table = np.asarray(starts.position_table(6, 32))[1:].reshape(6, 6, 32)
    similarity = np.einsum("yxw,w->yx", table, table[0, 0])
    assert (np.diff(similarity[0, :4]) < 0).all()
    assert (np.diff(similarity[:4, 0]) < 0).all()


@pytest.mark.parametrize("kind", [PreNormLayer, PostNormLayer])
def test_a_layer_adds_a_tenth_of_what_it_reads(kind: type) -> None:
    extra = (
        {"activation": "gelu", "layer_scale": False}
        if kind is PreNormLayer
        else {"dropout_rate": 0.0, "cross_attention": False}
    )
    layer = kind(128, 4, 256, epsilon=1e-6, dtype=jnp.float32, rngs=nnx.Rngs(0), **extra)
    x = jax.random.normal(jax.random.key(1), (2, 9, 128))
    added = layer(Padded(x, jnp.ones((2, 9)))).values - x
    assert 0.02 < float(added.std()) < 0.2


def test_what_is_read_from_the_other_side_counts_in_full() -> None:
    layer = PostNormLayer(
        128, 4, 256, epsilon=1e-6, dropout_rate=0.0, cross_attention=True, dtype=jnp.float32, rngs=nnx.Rngs(0)
    )
    own, branch = layer.cross_attention.out.kernel[...], layer.attention.out.kernel[...]
    assert 8 < float(own.std() / branch.std()) < 12
