"""The text encoder of BERT and RoBERTa, which with cross-attention is also BLIP's text encoder and decoder."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from smarttrim_jax.configuration import Settings
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.nn.inputs import check_texts
from smarttrim_jax.nn.layer_stack import stack
from smarttrim_jax.nn.layers import PostNormLayer, layer_norm
from smarttrim_jax.nn.positions import roberta_positions
from smarttrim_jax.nn.primitives import dropout
from smarttrim_jax.nn.sizes import check_heads, layer_parameters
from smarttrim_jax.ranges import Depth, NonNegativeInt, PositiveFloat, PositiveInt, ShareBelowOne
from smarttrim_jax.tokens import Kernel, Padded, first_token_open


@dataclasses.dataclass(frozen=True)
class TextConfig(Settings):
    """Sizes and variations of a text encoder; the defaults are RoBERTa-base.

    Attributes:
        vocab_size: Rows of the word table; 0 takes as many as the data's vocabulary has words.
        width: Width of the tokens.
        depth: Number of layers.
        heads: Attention heads; must divide `width`.
        mlp_width: Hidden width of the MLPs.
        max_positions: Rows of the position table.
        position_rule: "bert" counts from 0, "roberta" from the pad id + 1, skipping padding.
        pad_id: Id of the padding token (BERT 0, RoBERTa 1).
        token_types: Rows of the token-type table, of which row 0 is used; 0 for none (BLIP).
        epsilon: Epsilon of every LayerNorm (RoBERTa 1e-5, BERT 1e-12).
        dropout: Dropout on embeddings, attention weights and every sub-layer.
    """

    vocab_size: NonNegativeInt = 50265
    width: PositiveInt = 768
    depth: Depth = 12
    heads: PositiveInt = 12
    mlp_width: PositiveInt = 3072
    max_positions: PositiveInt = 514
    position_rule: Literal["bert", "roberta"] = "roberta"
    pad_id: NonNegativeInt = 1
    token_types: NonNegativeInt = 1
    epsilon: PositiveFloat = 1e-5
    dropout: ShareBelowOne = 0.1

    def check(self) -> None:
        """Makes sure that the fields fit together; see `Settings.check`."""
        check_heads(self.heads, self.width)
        if self.vocab_size and self.pad_id >= self.vocab_size:
            raise ConfigError(f"pad_id is {self.pad_id}; it must be below vocab_size, {self.vocab_size}")
        if self.max_length < 1:
            raise ConfigError(
                f"max_positions is {self.max_positions}, which leaves no position to a text; with pad_id "
                f"{self.pad_id} and position_rule '{self.position_rule}' it must be larger"
            )

    @property
    def max_length(self) -> int:
        """The longest text that the position table can hold, in tokens."""
        return self.max_positions - (self.pad_id + 1 if self.position_rule == "roberta" else 0)

    @property
    def parameters(self) -> int:
        """The number of parameters in its matrices and tables, without cross-attention, biases and norms."""
        tables = (self.vocab_size + self.max_positions + self.token_types) * self.width
        return tables + self.depth * layer_parameters(self.width, self.mlp_width)


class TextEmbedding(nnx.Module):
    """The embedding of a text's tokens: word, position and token type, followed by a norm.

    Args:
        config: Sizes of the text encoder.
        dtype: Data type of the computation.
        rngs: Random numbers of the initial weights.

    Raises:
        ConfigError: `vocab_size` is 0, which means that it was not yet set from the data.
    """

    def __init__(self, config: TextConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        if config.vocab_size < 1:
            raise ConfigError("vocab_size is 0, which the data set fills in; set it to build a model without one")
        self.config = config

        def table(rows: int) -> nnx.Embed:
            init = nnx.initializers.normal(0.02)
            return nnx.Embed(rows, config.width, embedding_init=init, dtype=dtype, rngs=rngs)

        self.word_embedding = table(config.vocab_size)
        self.position_embedding = table(config.max_positions)
        self.type_embedding = table(config.token_types) if config.token_types else None
        self.embedding_norm = layer_norm(config.width, config.epsilon, dtype=dtype, rngs=rngs)

    def embed(
        self,
        ids: Int[Array, "batch tokens"],
        mask: Int[Array, "batch tokens"],
        *,
        key: jax.Array | None = None,
    ) -> Padded:
        """Embeds a batch of texts; padding is closed from the start.

        Args:
            ids: Token ids, `[batch, tokens]`.
            mask: `[batch, tokens]`, 1 for tokens, 0 for padding.
            key: Random key of the dropout; None for evaluation.

        Returns:
            The tokens before the first layer.

        Raises:
            ConfigError: A text is longer than the position table, or the arrays' shapes do not fit; see
                `check_texts`.
            DataError: An id or the mask has a value that cannot be used; see `check_texts`.
        """
        check_texts(ids, mask, self.config.vocab_size)
        if ids.shape[1] > self.config.max_length:
            raise ConfigError(
                f"texts of {ids.shape[1]} tokens do not fit a position table for {self.config.max_length}"
            )
        if self.config.position_rule == "roberta":
            positions = roberta_positions(ids, self.config.pad_id)
        else:
            positions = jnp.arange(ids.shape[1])[None]
        return Padded(dropout(self._embed(ids, positions), self.config.dropout, key), first_token_open(mask))

    def embed_one(self, ids: Int[Array, " rows"], position: Int[Array, ""] | int) -> Float[Array, "rows width"]:
        """Embeds one token of each text, all at the same position; equals `embed` there in evaluation.

        Args:
            ids: Token ids, `[rows]`. No token before them may be padding.
            position: Index of the position, counted from 0.

        Returns:
            The token vectors, `[rows, width]`.
        """
        first = self.config.pad_id + 1 if self.config.position_rule == "roberta" else 0
        return self._embed(ids, jnp.full_like(ids, first + position))

    def _embed(self, ids: Int[Array, "*shape"], positions: Int[Array, "*#shape"]) -> Float[Array, "*shape width"]:
        """Sums word, position and type embeddings and normalises the sum."""
        x = self.word_embedding(ids) + self.position_embedding(positions)
        if self.type_embedding is not None:
            x = x + self.type_embedding(jnp.zeros_like(ids))
        embedded: Array = self.embedding_norm(x)
        return embedded


class TextTransformer(TextEmbedding):
    """A text encoder or decoder: the embedding, and a stack of post-norm layers that the model runs itself.

    Args:
        config: Sizes of the text encoder.
        source_width: Width of the tokens that each layer's cross-attention reads; 0 builds layers without
            cross-attention.
        causal: Whether each token reads only itself and the tokens before it (decoders).
        dtype: Data type of the computation.
        kernel: Attention kernel of training and evaluation.
        rngs: Random numbers of the initial weights.
    """

    def __init__(
        self,
        config: TextConfig,
        *,
        source_width: int = 0,
        causal: bool = False,
        dtype: DTypeLike,
        kernel: Kernel = "auto",
        rngs: nnx.Rngs,
    ):
        super().__init__(config, dtype=dtype, rngs=rngs)
        self.layers = stack(
            lambda rngs: PostNormLayer(
                config.width,
                config.heads,
                config.mlp_width,
                epsilon=config.epsilon,
                dropout_rate=config.dropout,
                cross_attention=source_width > 0,
                source_width=source_width,
                causal=causal,
                dtype=dtype,
                kernel=kernel,
                rngs=rngs,
            ),
            config.depth,
            rngs,
        )
