"""Multi-head attention over Tokens, with a gate on every head."""

import jax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from smarttrim_jax.nn.linear import Linear
from smarttrim_jax.nn.regularization import dropout
from smarttrim_jax.tokens import Tokens


class Attention(nnx.Module):
    """Self-attention, or cross-attention when called with a source.

    Query, key, value and output projections have biases, as in CLIP, BERT and RoBERTa.

    Args:
        width: of the tokens.
        heads: number of heads; must divide `width`.
        dropout_rate: on the attention weights.
        dtype: of the computation; parameters are float32.
        rngs: for the initial weights.
    """

    def __init__(self, width: int, heads: int, *, dropout_rate: float, dtype: DTypeLike, rngs: nnx.Rngs):
        self.heads, self.dropout_rate = heads, dropout_rate
        self.query = Linear(width, width, dtype=dtype, rngs=rngs)
        self.key = Linear(width, width, dtype=dtype, rngs=rngs)
        self.value = Linear(width, width, dtype=dtype, rngs=rngs)
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
            key: of the dropout; None turns it off.
        """
        context = tokens if source is None else source
        with jax.named_scope("attention"):
            mixed = tokens.attend(
                self._split(self.query(tokens.values)),
                self._split(self.key(context.values)),
                self._split(self.value(context.values)),
                source=context,
                head_gate=head_gate,
                drop=lambda weights: dropout(weights, self.dropout_rate, key),
            )
        return self.out(mixed.reshape(*mixed.shape[:-2], -1))

    def _split(self, values: Array) -> Array:
        return values.reshape(*values.shape[:-1], self.heads, -1)
