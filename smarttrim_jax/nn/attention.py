"""Multi-head attention over Tokens, with a gate on every head."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from smarttrim_jax.nn.linear import Linear
from smarttrim_jax.nn.regularization import dropout
from smarttrim_jax.tokens import Kernel, Tokens, attend


class Attention(nnx.Module):
    """Self-attention, or cross-attention when called with a source.

    Query, key, value and output projections have biases, as in CLIP, BERT and RoBERTa.

    Args:
        width: of the tokens.
        heads: number of heads; must divide `width`.
        dropout_rate: on the attention weights.
        source_width: of what cross-attention reads; by default `width`.
        causal: no token reads those behind it (decoders).
        dtype: of the computation; parameters are float32.
        kernel: who computes the attention in evaluation.
        rngs: for the initial weights.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        dropout_rate: float,
        source_width: int | None = None,
        causal: bool = False,
        dtype: DTypeLike,
        kernel: Kernel = "auto",
        rngs: nnx.Rngs,
    ):
        self.head_width, self.dropout_rate, self.kernel = width // heads, dropout_rate, kernel
        self.causal, source_width = causal, source_width or width
        self.kept: nnx.Variable | None = nnx.data(None)
        self.query = Linear(width, width, dtype=dtype, rngs=rngs)
        self.key = Linear(source_width, width, dtype=dtype, rngs=rngs)
        self.value = Linear(source_width, width, dtype=dtype, rngs=rngs)
        self.out = Linear(width, width, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        tokens: Tokens,
        source: Tokens | None = None,
        *,
        head_gate: Float[Array, "batch heads"] | None = None,
        key: jax.Array | None = None,
    ) -> Array:
        """The attention's output for every token, before residual and norm.

        Args:
            tokens: the queries.
            source: the keys and values; `tokens` by default.
            head_gate: 1 open, 0 closed; multiplies a head's output before the output projection.
            key: of the dropout in training; None for evaluation.
        """
        context = tokens if source is None else source
        if head_gate is not None and self.kept is not None:
            head_gate = head_gate[:, self.kept[...]]
        with jax.named_scope("attention"):
            mixed = attend(
                tokens,
                self._split(self.query(tokens.values)),
                self._split(self.key(context.values)),
                self._split(self.value(context.values)),
                source=source,
                head_gate=head_gate,
                causal=self.causal,
                drop=None if key is None else lambda weights: dropout(weights, self.dropout_rate, key),
                kernel=self.kernel,
            )
        return self.out(mixed.reshape(*mixed.shape[:-2], -1))

    def narrowed(self, kept: Int[Array, " fewer"]) -> "Attention":
        """The same attention without the weights of all heads but `kept`: equal wherever the others are closed.

        Gates stay those of all heads.
        """
        columns = (kept[:, None] * self.head_width + jnp.arange(self.head_width)).reshape(-1)
        narrow = nnx.clone(self)
        for linear in (narrow.query, narrow.key, narrow.value):
            linear.kernel, linear.bias = (
                nnx.Param(part[...][..., columns]) for part in (linear.kernel, linear.bias) if part is not None
            )
        narrow.out.kernel = nnx.Param(narrow.out.kernel[...][columns])
        narrow.kept = nnx.Variable(kept)
        return narrow

    def _split(self, values: Array) -> Array:
        return values.reshape(*values.shape[:-1], -1, self.head_width)
