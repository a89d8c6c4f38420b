"""Multi-head attention over tokens, with a gate for each head."""

import dataclasses
import functools
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from smarttrim_jax.nn import starts
from smarttrim_jax.nn.primitives import Linear, dropout
from smarttrim_jax.tokens import Kernel, Padded, Tokens, attend

T = TypeVar("T", bound=Tokens)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KeysAndValues:
    """The projected keys and values of a source, which any number of attention calls may read.

    Attributes:
        keys: Tokens whose vectors are the keys, `[..., heads, head_width]`; closed tokens are not read.
        values: The values, laid out like `keys.values`.
    """

    keys: Tokens
    values: Float[Array, "... heads head_width"]

    @property
    def side_by_side(self) -> "KeysAndValues":
        """The same keys and values with one row per example, whatever the layout was.

        Call it once before the source is read many times, so that not every reading has to lay out the rows.
        """
        keys = self.keys
        return KeysAndValues(Padded(keys.rows(keys.values), keys.row_gate), keys.rows(self.values))


class Attention(nnx.Module):
    """Self-attention, or cross-attention when called with a source.

    Query, key, value and output projections have biases, as in CLIP, BERT and RoBERTa.

    Args:
        width: Width of the tokens.
        heads: Number of heads; must divide `width`.
        dropout_rate: Probability of dropping an attention weight in training.
        source_width: Width of the tokens that cross-attention reads; None takes `width`.
        causal: Whether self-attention lets each token read only itself and the tokens before it (decoders).
        out_start: Start of the output projection's kernel.
        dtype: Data type of the computation; parameters are float32.
        kernel: Attention kernel of training and evaluation; see `smarttrim_jax.tokens.attend`.
        rngs: Random numbers of the initial weights.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        dropout_rate: float,
        source_width: int | None = None,
        causal: bool = False,
        out_start: nnx.Initializer = starts.BRANCH,
        dtype: DTypeLike,
        kernel: Kernel = "auto",
        rngs: nnx.Rngs,
    ):
        self.head_width, self.dropout_rate, self.kernel = width // heads, dropout_rate, kernel
        self.causal, source_width = causal, source_width or width
        self.kept: nnx.Variable[Array] | None = nnx.data(None)
        self.query = Linear(width, width, dtype=dtype, rngs=rngs)
        self.key = Linear(source_width, width, dtype=dtype, rngs=rngs)
        self.value = Linear(source_width, width, dtype=dtype, rngs=rngs)
        self.out = Linear(width, width, kernel_init=out_start, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        tokens: Tokens,
        source: Tokens | KeysAndValues | None = None,
        *,
        head_gate: Float[Array, "batch heads"] | None = None,
        key: jax.Array | None = None,
    ) -> Array:
        """Computes the attention's output for each token, before residual and norm.

        Args:
            tokens: The tokens that the queries are computed from.
            source: What is read: tokens, or keys and values that `project` made; None reads `tokens`.
            head_gate: `[batch, heads]`, 1 open, 0 closed; multiplies each head's output before the output projection.
                None leaves all heads open.
            key: Random key of the dropout in training; None for evaluation, in which gates get no gradient.

        Returns:
            One vector per token, laid out like `tokens.values`, `[..., width]`.
        """
        if head_gate is not None and self.kept is not None:
            head_gate = head_gate[:, self.kept[...]]
        drop = None
        if key is not None and self.dropout_rate > 0.0:
            drop = functools.partial(dropout, rate=self.dropout_rate, key=key)
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
                training=key is not None,
                drop=drop,
                kernel=self.kernel if read is not source else "xla",  # decoding: too few queries for a fused kernel
            )
        return self.out(mixed.reshape(*mixed.shape[:-2], -1))

    def project(self, source: Tokens) -> KeysAndValues:
        """Projects a source to keys and values, to be read by any number of calls.

        Args:
            source: The tokens to read, in any layout.

        Returns:
            Their keys and values, split into heads.
        """
        keys = source.replace(self._split(self.key(source.values)))
        return KeysAndValues(keys, self._split(self.value(source.values)))

    def mean_keys(self, tokens: T) -> T:
        """Projects tokens to keys, averaged over the heads: what ToMe compares tokens by.

        Args:
            tokens: The tokens, in any layout.

        Returns:
            Tokens whose vectors are the mean keys, `[..., head_width]`.
        """
        return tokens.replace(jnp.mean(self._split(self.key(tokens.values)), axis=-2))

    def weights_of(self, reader: Float[Array, "rows width"], source: Tokens) -> Float[Array, "rows tokens"]:
        """Computes how much one reader an example attends to each of its tokens.

        Args:
            reader: The vector of each example that the query is computed from, `[rows, width]`.
            source: The tokens that it reads, in any layout.

        Returns:
            The attention weights as mean over the heads, float32, `[rows, tokens]` over original tokens. Those of an
            example sum to 1; closed tokens and padding have 0.
        """
        query = source.spread(self._split(self.query(reader)))
        keys = self._split(self.key(source.values))
        scores = jnp.einsum("...hd,...hd->...h", query, keys, preferred_element_type=jnp.float32)
        is_open = source.padded_gate[..., None] > 0
        scores = jnp.where(is_open, source.pad(scores * self.head_width**-0.5), -jnp.inf)
        return jnp.mean(jax.nn.softmax(scores, axis=1), axis=-1)

    def narrowed(self, kept: Int[Array, " fewer"]) -> "Attention":
        """Removes the weights of all heads except some; the output is equal wherever the removed heads are closed.

        Args:
            kept: Indices of the heads that remain, `[fewer]`.

        Returns:
            A new module with these heads. It still takes the gates of all heads, and selects those of its own.
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
        """Splits the last axis into heads: `[..., width]` to `[..., heads, head_width]`."""
        return values.reshape(*values.shape[:-1], -1, self.head_width)
