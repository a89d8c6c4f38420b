"""The answers that the official BLIP generates, from its decoder's weights and its question states."""

import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util

from smarttrim_jax.inference.generation import GenerationConfig, generate
from smarttrim_jax.nn.decoding import CachedDecoder
from smarttrim_jax.nn.folding import stack
from smarttrim_jax.nn.layers import PostNormLayer, gelu, layer_norm
from smarttrim_jax.nn.linear import Linear
from smarttrim_jax.nn.text import TextConfig, TextTransformer
from smarttrim_jax.pretrained import torch_modules
from smarttrim_jax.pretrained.weight_table import Rule, WeightTable
from smarttrim_jax.tokens import Padded

BERT, HEAD = "text_decoder.bert", "text_decoder.cls.predictions"
RULES = (
    torch_modules.embedding(f"{BERT}.embeddings.word_embeddings", "text/word_embedding"),
    torch_modules.embedding(f"{BERT}.embeddings.position_embeddings", "text/position_embedding"),
    *torch_modules.layer_norm(f"{BERT}.embeddings.LayerNorm", "text/embedding_norm"),
    *torch_modules.bert_layer(f"{BERT}.encoder.layer.{{layer}}", "layers", cross_attention=True),
    *torch_modules.linear(f"{HEAD}.transform.dense", "transform"),
    *torch_modules.layer_norm(f"{HEAD}.transform.LayerNorm", "transform_norm"),
    Rule(f"{HEAD}.bias", ("bias",)),
)


class AnswerDecoder(nnx.Module):
    """BLIP's answer decoder: BERT with cross-attention in every layer and a head tied to its words."""

    def __init__(self, sizes: dict[str, Any], rngs: nnx.Rngs):
        width, epsilon = sizes["hidden_size"], sizes["layer_norm_eps"]
        sizes_of_a_layer = width, sizes["num_attention_heads"], sizes["intermediate_size"]
        config = TextConfig(
            sizes["vocab_size"],
            width,
            depth=1,
            heads=1,
            max_positions=sizes["max_position_embeddings"],
            position_rule="bert",
            pad_id=0,
            token_types=0,
            epsilon=epsilon,
        )
        computed: dict[str, Any] = {"dtype": jnp.float32, "rngs": rngs}
        self.text = TextTransformer(config, **computed)
        del self.text.layers
        self.layers = stack(
            lambda rngs: PostNormLayer(
                *sizes_of_a_layer,
                epsilon=epsilon,
                dropout_rate=0.1,
                cross_attention=True,
                dtype=jnp.float32,
                rngs=rngs,
            ),
            sizes["num_hidden_layers"],
            rngs,
        )
        self.transform = Linear(width, width, **computed)
        self.transform_norm = layer_norm(width, epsilon, **computed)
        self.bias = nnx.Param(jnp.zeros(sizes["vocab_size"]))

    def head(self, x: jax.Array) -> jax.Array:
        return self.text.word_embedding.attend(self.transform_norm(gelu(self.transform(x)))) + self.bias[...]


def test_beam_search_generates_the_official_answers(golden: pathlib.Path) -> None:
    blip = np.load(golden / "blip_tiny_vqa.npz")
    config = json.loads(str(blip["config"]))
    decoder = AnswerDecoder(config["med"], nnx.Rngs(0))
    graphdef, params = nnx.split(decoder)
    params = traverse_util.flatten_dict(nnx.to_pure_dict(params), sep="/")
    weights = {key.removeprefix("state_dict/"): blip[key] for key in blip if "state_dict/text_decoder" in key}
    leftovers = (r".*position_ids", r".*predictions\.decoder\..*")
    loaded = WeightTable("BLIP", RULES, leftovers).read(weights, {path: leaf.shape for path, leaf in params.items()})
    special = config["special"]
    generation = GenerationConfig(special["sep_token_id"], special["pad_token_id"], **config["generate"])

    @jax.jit
    def answer(params: Any, states: jax.Array) -> jax.Array:
        decoder = nnx.merge(graphdef, params)
        source = Padded(states, jnp.ones(states.shape[:2]))
        cached = CachedDecoder(decoder.text, decoder.layers, decoder.head, source=source)
        prompt = jnp.full((len(states), 1), special["bos_token_id"])
        return generate(cached.step, cached.start(len(states), generation.max_length), prompt, generation).ids

    ids = answer(traverse_util.unflatten_dict(loaded, sep="/"), blip["outputs/question_states"])
    assert [" ".join(map(str, text)) for text in np.asarray(ids)] == blip["outputs/generated"].tolist()
