"""BLIP's text models beside the fused encoder: a decoder with a language head, and layers that read two images."""

from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from smarttrim_jax.models.blip.config import BlipConfig
from smarttrim_jax.nn.attention import Attention
from smarttrim_jax.nn.layer_stack import stack
from smarttrim_jax.nn.layers import PostNormLayer, gelu, layer_norm
from smarttrim_jax.nn.primitives import Linear, split_key
from smarttrim_jax.nn.text import TextEmbedding, TextTransformer
from smarttrim_jax.tokens import Tokens

T = TypeVar("T")


class TextDecoder(TextTransformer):
    """A causal text model that reads another side, with a language head.

    Follows BLIP's BertLMHeadModel: a linear map, GELU, norm, and the product with the word table plus a bias.

    Args:
        config: Configuration of the model.
        source_width: Width of the tokens that cross-attention reads.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, config: BlipConfig, source_width: int, *, rngs: nnx.Rngs):
        text, dtype = config.text, jnp.dtype(config.dtype)
        super().__init__(text, source_width=source_width, causal=True, dtype=dtype, kernel=config.kernel, rngs=rngs)
        self.dense = Linear(text.width, text.width, dtype=dtype, rngs=rngs)
        self.norm = layer_norm(text.width, text.epsilon, dtype=dtype, rngs=rngs)
        self.bias = nnx.Param(jnp.zeros(text.vocab_size, jnp.float32))

    def logits(self, values: Float[Array, "... width"]) -> Float[Array, "... words"]:
        """Scores all words as the one that follows each token.

        Args:
            values: Token vectors after the last layer, `[..., width]`.

        Returns:
            float32 logits, `[..., words]`.
        """
        hidden = self.norm(gelu(self.dense(values)))
        return self.word_embedding.attend(hidden).astype(jnp.float32) + self.bias[...]


class Twin(NamedTuple, Generic[T]):
    """A pair of values, one for each of two images.

    Attributes:
        first: The value of the first image.
        second: The value of the second image.
    """

    first: T
    second: T


class TwinLayer(PostNormLayer):
    """A layer that reads two images, by one cross-attention each (BLIP's nlvr_encoder).

    Args:
        config: Configuration of the model.
        merge: Whether a linear map merges the two outputs of cross-attention; otherwise their mean is taken.
        dtype: Data type of the computation.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, config: BlipConfig, *, merge: bool, dtype: DTypeLike, rngs: nnx.Rngs):
        text, width = config.text, config.vision.width
        computed: dict[str, Any] = {"dtype": dtype, "kernel": config.kernel, "rngs": rngs}
        super().__init__(
            text.width,
            text.heads,
            text.mlp_width,
            epsilon=text.epsilon,
            dropout_rate=text.dropout,
            cross_attention=True,
            source_width=width,
            **computed,
        )
        self.twin_attention = Attention(
            text.width, text.heads, dropout_rate=text.dropout, source_width=width, **computed
        )
        self.merge = Linear(2 * text.width, text.width, dtype=dtype, rngs=rngs) if merge else None

    def read(
        self, tokens: Tokens, source: Twin[Tokens], head_gate: Twin[Array | None], key: jax.Array | None
    ) -> Array:
        """Computes the merged output of both cross-attentions, before dropout, residual and norm.

        Args:
            tokens: The tokens that the queries are computed from.
            source: The tokens of both images.
            head_gate: Gates of the heads of both cross-attentions, `[batch, heads]` each; None leaves them open.
            key: Random key of the dropout; None for evaluation.

        Returns:
            One vector per token, laid out like `tokens.values`.
        """
        keys = split_key(key, 2)
        first = self.cross_attention(tokens=tokens, source=source.first, head_gate=head_gate.first, key=keys[0])
        second = self.twin_attention(tokens=tokens, source=source.second, head_gate=head_gate.second, key=keys[1])
        if self.merge is None:
            return (first + second) / 2
        return self.merge(jnp.concatenate([first, second], axis=-1))


class TwinTextTransformer(TextEmbedding):
    """A text encoder that reads two images; `layers` average what they read, `merge_layers` merge it linearly.

    Args:
        config: Configuration of the model; its `first_merge` says where `merge_layers` begin, which are None if they
            are empty.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, config: BlipConfig, *, rngs: nnx.Rngs):
        dtype, merging = jnp.dtype(config.dtype), config.text.depth - config.first_merge
        super().__init__(config.text, dtype=dtype, rngs=rngs)

        def layers(merge: bool, depth: int) -> Any:
            return stack(lambda rngs: TwinLayer(config, merge=merge, dtype=dtype, rngs=rngs), depth, rngs)

        self.layers = layers(False, config.first_merge)
        self.merge_layers = layers(True, merging) if merging else None
