"""Multi-head attention over Tokens, with a gate on every head."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from smarttrim_jax.nn.primitives import Linear, dropout
from smarttrim_jax.tokens import Kernel, Padded, Tokens, attend


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KeysAndValues:
    """What attention reads, projected once for any number of readings.

    Attributes:
        keys: tokens whose vectors are the keys, `[..., heads, head_width]`; closed ones are not read.
        values: laid out like the keys.
    """

    keys: Tokens
    values: Float[Array, "... heads head_width"]

    @property
    def side_by_side(self) -> "KeysAndValues":
        """The same in rows, whatever the layout was: what many readings would each have to do."""
        keys = self.keys
        return KeysAndValues(Padded(keys.rows(keys.values), keys.row_gate), keys.rows(self.values))


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
        source: Tokens | KeysAndValues | None = None,
        *,
        head_gate: Float[Array, "batch heads"] | None = None,
        key: jax.Array | None = None,
    ) -> Array:
        """The attention's output for every token, before residual and norm.

        Args:
            tokens: the queries.
            source: what is read, as tokens or already projected; `tokens` by default.
            head_gate: 1 open, 0 closed; multiplies a head's output before the output projection.
            key: of the dropout in training; None for evaluation.
        """
        if head_gate is not None and self.kept is not None:
            head_gate = head_gate[:, self.kept[...]]
        with jax.named_scope("attention"):
            read = source if isinstance(source, KeysAndValues) else self.project(tokens if source is None else source)
            mixed = attend(
                tokens,
                self._split(self.query(tokens.values)),
                read.keys.values,
                read.values,
                source=None if source is None else read.keys,
                head_gate=head_gate,
                causal=self.causal and source is None,
                drop=None if key is None else lambda weights: dropout(weights, self.dropout_rate, key),
                kernel=self.kernel if read is not source else "xla",  # few readers: not worth a fused kernel
            )
        return self.out(mixed.reshape(*mixed.shape[:-2], -1))

    def project(self, source: Tokens) -> KeysAndValues:
        """The keys and values of `source`."""
        keys = source.replace(self._split(self.key(source.values)))
        return KeysAndValues(keys, self._split(self.value(source.values)))

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
