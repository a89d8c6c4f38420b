"""Transformer layers: pre-norm (CLIP, BLIP, DINOv2 vision) and post-norm (BERT, RoBERTa, METER's fusion)."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from smarttrim_jax.nn.attention import Attention, KeysAndValues
from smarttrim_jax.nn.primitives import Linear, drop_path, dropout, split_key
from smarttrim_jax.tokens import Kernel, Tokens

T = TypeVar("T", bound=Tokens)


def quick_gelu(x: Array) -> Array:
    """CLIP's approximation, `x sigmoid(1.702 x)`."""
    return x * jax.nn.sigmoid(1.702 * x)


def gelu(x: Array) -> Array:
    """The exact (erf) GELU."""
    return jax.nn.gelu(x, approximate=False)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"gelu": gelu, "quick_gelu": quick_gelu}


def layer_norm(width: int, epsilon: float, *, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """LayerNorm with statistics in float32 and the two-pass variance (an epsilon of 1e-12 needs it)."""
    return nnx.LayerNorm(width, epsilon=epsilon, use_fast_variance=False, dtype=dtype, rngs=rngs)


class FeedForward(nnx.Module):
    """Two linear maps with an activation between."""

    def __init__(self, width: int, hidden: int, activation: str, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.activation = activation
        self.up = Linear(width, hidden, dtype=dtype, rngs=rngs)
        self.down = Linear(hidden, width, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "... width"]) -> Float[Array, "... width"]:
        """The output before residual and norm."""
        return self.down(ACTIVATIONS[self.activation](self.up(x)))


class PreNormLayer(nnx.Module):
    """`x += attention(norm(x)); x += mlp(norm(x))`, with optional LayerScale and stochastic depth.

    Follows CLIP's ResidualAttentionBlock, BLIP's Block and DINOv2's layer.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_width: int,
        *,
        activation: str,
        epsilon: float,
        layer_scale: bool,
        dtype: DTypeLike,
        kernel: Kernel = "auto",
        rngs: nnx.Rngs,
    ):
        self.attention_norm = layer_norm(width, epsilon, dtype=dtype, rngs=rngs)
        self.attention = Attention(width, heads, dropout_rate=0.0, dtype=dtype, kernel=kernel, rngs=rngs)
        self.mlp_norm = layer_norm(width, epsilon, dtype=dtype, rngs=rngs)
        self.mlp = FeedForward(width, mlp_width, activation, dtype=dtype, rngs=rngs)
        self.attention_scale = nnx.Param(jnp.ones(width, jnp.float32)) if layer_scale else None
        self.mlp_scale = nnx.Param(jnp.ones(width, jnp.float32)) if layer_scale else None

    def __call__(
        self,
        tokens: T,
        *,
        head_gate: Float[Array, "batch heads"] | None = None,
        drop_path_rate: Array | float = 0.0,
        key: jax.Array | None = None,
    ) -> T:
        """One layer; `key` None is evaluation, without stochastic depth."""
        keys = split_key(key, 2)
        x = tokens.values
        branch = self.attention(tokens=tokens.replace(self.attention_norm(x)), head_gate=head_gate, key=keys[0])
        x = x + drop_path(_scaled(branch, self.attention_scale), tokens, drop_path_rate, keys[0])
        branch = self.mlp(self.mlp_norm(x))
        return tokens.replace(x + drop_path(_scaled(branch, self.mlp_scale), tokens, drop_path_rate, keys[1]))


class PostNormLayer(nnx.Module):
    """BERT's layer: every sub-layer is dropout, residual, norm; with cross-attention in the middle if asked.

    Follows Hugging Face's BertLayer, METER's BertCrossLayer and BLIP's BertLayer.

    Args:
        width: of the tokens.
        heads: of every attention; must divide `width`.
        mlp_width: hidden width of the MLP.
        epsilon: of the norms.
        dropout_rate: on attention weights and every sub-layer.
        cross_attention: whether it can read a source.
        source_width: of the source; by default `width`.
        causal: no token reads those behind it (decoders).
        dtype: of the computation.
        kernel: who computes attention in evaluation.
        rngs: for the initial weights.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_width: int,
        *,
        epsilon: float,
        dropout_rate: float,
        cross_attention: bool,
        source_width: int | None = None,
        causal: bool = False,
        dtype: DTypeLike,
        kernel: Kernel = "auto",
        rngs: nnx.Rngs,
    ):
        self.dropout_rate = dropout_rate
        computed: dict[str, Any] = {"dropout_rate": dropout_rate, "dtype": dtype, "kernel": kernel, "rngs": rngs}
        self.attention = Attention(width, heads, causal=causal, **computed)
        self.attention_norm = layer_norm(width, epsilon, dtype=dtype, rngs=rngs)
        if cross_attention:
            self.cross_attention = Attention(width, heads, source_width=source_width, **computed)
            self.cross_attention_norm = layer_norm(width, epsilon, dtype=dtype, rngs=rngs)
        self.mlp = FeedForward(width, mlp_width, "gelu", dtype=dtype, rngs=rngs)
        self.mlp_norm = layer_norm(width, epsilon, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        tokens: T,
        source: Any = None,
        *,
        own: KeysAndValues | None = None,
        head_gate: Float[Array, "batch heads"] | None = None,
        cross_head_gate: Any = None,
        key: jax.Array | None = None,
    ) -> T:
        """One layer.

        Args:
            tokens: the layer's own side.
            source: the other side, as `read` takes it; None skips cross-attention.
            own: what self-attention reads, if not `tokens`.
            head_gate: of self-attention.
            cross_head_gate: of cross-attention, as `read` takes it.
            key: of the dropout; None turns it off.
        """
        keys = split_key(key, 5)

        def add(tokens: T, branch: Array, norm: nnx.LayerNorm, key: jax.Array | None) -> T:
            return tokens.replace(norm(tokens.values + dropout(branch, self.dropout_rate, key)))

        branch = self.attention(tokens=tokens, source=own, head_gate=head_gate, key=keys[0])
        tokens = add(tokens, branch, self.attention_norm, keys[1])
        if source is not None:
            branch = self.read(tokens=tokens, source=source, head_gate=cross_head_gate, key=keys[2])
            tokens = add(tokens, branch, self.cross_attention_norm, keys[3])
        return add(tokens, self.mlp(tokens.values), self.mlp_norm, keys[4])

    def read(self, tokens: Tokens, source: Any, head_gate: Any, key: jax.Array | None) -> Array:
        """What the tokens take from the source, before dropout, residual and norm."""
        return self.cross_attention(tokens=tokens, source=source, head_gate=head_gate, key=key)


def _scaled(branch: Array, scale: nnx.Param | None) -> Array:
    return branch if scale is None else branch * scale[...].astype(branch.dtype)
