"""Transformer layers: pre-norm (CLIP, BLIP, DINOv2 vision) and post-norm (BERT, RoBERTa, METER's fusion)."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from smarttrim_jax.nn import starts
from smarttrim_jax.nn.attention import Attention, KeysAndValues
from smarttrim_jax.nn.primitives import Linear, drop_path, dropout, split_key
from smarttrim_jax.tokens import Kernel, Tokens

T = TypeVar("T", bound=Tokens)


def quick_gelu(x: Array) -> Array:
    """CLIP's approximation of GELU, `x sigmoid(1.702 x)`.

    Args:
        x: Array of any shape.

    Returns:
        The activation of each number.
    """
    return x * jax.nn.sigmoid(1.702 * x)


def gelu(x: Array) -> Array:
    """The exact GELU, computed by erf.

    Args:
        x: Array of any shape.

    Returns:
        The activation of each number.
    """
    return jax.nn.gelu(x, approximate=False)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"gelu": gelu, "quick_gelu": quick_gelu}


def layer_norm(width: int, epsilon: float, *, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Makes a LayerNorm with float32 statistics and the two-pass variance, which an epsilon as small as 1e-12 needs.

    Args:
        width: Width of the normalised axis.
        epsilon: Number added to the variance.
        dtype: Data type of the output.
        rngs: Random numbers, which nnx asks for; scale and bias start at 1 and 0.

    Returns:
        The module.
    """
    return nnx.LayerNorm(width, epsilon=epsilon, use_fast_variance=False, dtype=dtype, rngs=rngs)


class FeedForward(nnx.Module):
    """An MLP: two linear maps with an activation between them.

    Args:
        width: Width of the tokens.
        hidden: Width of the hidden layer.
        activation: Name of an entry of `ACTIVATIONS`.
        dtype: Data type of the computation.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, width: int, hidden: int, activation: str, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.activation = activation
        self.up = Linear(width, hidden, dtype=dtype, rngs=rngs)
        self.down = Linear(hidden, width, kernel_init=starts.BRANCH, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "... width"]) -> Float[Array, "... width"]:
        """Computes the output before residual and norm.

        Args:
            x: Token vectors, `[..., width]`.

        Returns:
            `[..., width]`.
        """
        return self.down(ACTIVATIONS[self.activation](self.up(x)))


class PreNormLayer(nnx.Module):
    """`x += attention(norm(x)); x += mlp(norm(x))`, with optional LayerScale and stochastic depth.

    Follows CLIP's ResidualAttentionBlock, BLIP's Block and DINOv2's layer.

    Args:
        width: Width of the tokens.
        heads: Attention heads; must divide `width`.
        mlp_width: Hidden width of the MLP.
        activation: Activation of the MLP, an entry of `ACTIVATIONS`.
        epsilon: Epsilon of the norms.
        layer_scale: Whether each residual branch has a learned scale per channel (DINOv2), which starts at 1.
        dtype: Data type of the computation.
        kernel: Attention kernel of training and evaluation.
        rngs: Random numbers of the initial weights.
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
        """Computes one layer.

        Args:
            tokens: The layer's input, in any layout.
            head_gate: `[batch, heads]`, 1 open, 0 closed; None leaves all heads open.
            drop_path_rate: Probability of skipping a residual branch for an example in training; may be traced.
            key: Random key of training; None for evaluation, without stochastic depth.

        Returns:
            The tokens with the layer's output as their vectors.
        """
        keys = split_key(key, 2)
        x = tokens.values
        branch = self.attention(tokens=self.attention_input(tokens), head_gate=head_gate, key=keys[0])
        x = x + drop_path(_scaled(branch, self.attention_scale), tokens, drop_path_rate, keys[0])
        branch = self.mlp(self.mlp_norm(x))
        return tokens.replace(x + drop_path(_scaled(branch, self.mlp_scale), tokens, drop_path_rate, keys[1]))

    def attention_input(self, tokens: T) -> T:
        """Computes what the layer's `attention` reads, for policies that score by it.

        Args:
            tokens: The layer's input, in any layout.

        Returns:
            The tokens after the norm.
        """
        return tokens.replace(self.attention_norm(tokens.values))


class PostNormLayer(nnx.Module):
    """BERT's layer: sub-layers followed by dropout, residual and norm; cross-attention in the middle is optional.

    Follows Hugging Face's BertLayer, METER's BertCrossLayer and BLIP's BertLayer.

    Args:
        width: Width of the tokens.
        heads: Heads of each attention module; must divide `width`.
        mlp_width: Hidden width of the MLP.
        epsilon: Epsilon of the norms.
        dropout_rate: Dropout on attention weights and on the output of each sub-layer.
        cross_attention: Whether the layer has a cross-attention module to read a source.
        source_width: Width of the source's tokens; None takes `width`.
        causal: Whether self-attention lets each token read only itself and the tokens before it (decoders).
        dtype: Data type of the computation.
        kernel: Attention kernel of training and evaluation.
        rngs: Random numbers of the initial weights.
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
            self.cross_attention = Attention(
                width, heads, source_width=source_width, out_start=starts.READING, **computed
            )
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
        """Computes one layer.

        Args:
            tokens: The tokens of the layer's own side, in any layout.
            source: The other side's tokens or projected keys and values, as `read` takes them; None skips
                cross-attention.
            own: Keys and values that self-attention reads, such as a cache; None reads `tokens`.
            head_gate: Gates of the self-attention heads, `[batch, heads]`; None leaves them open.
            cross_head_gate: Gates of the cross-attention heads, as `read` takes them; None leaves them open.
            key: Random key of the dropout; None for evaluation, without dropout.

        Returns:
            The tokens with the layer's output as their vectors.
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

    def attention_input(self, tokens: T) -> T:
        """Returns what the layer's `attention` reads, for policies that score by it.

        Args:
            tokens: The layer's input, in any layout.

        Returns:
            The tokens as they are, since this layer has its norms behind its parts.
        """
        return tokens

    def read(self, tokens: Tokens, source: Any, head_gate: Any, key: jax.Array | None) -> Array:
        """Computes cross-attention's output before dropout, residual and norm; layers with two sources override it.

        Args:
            tokens: The tokens that the queries are computed from.
            source: The tokens to read, or their projected keys and values.
            head_gate: Gates of the heads, `[batch, heads]`; None leaves them open.
            key: Random key of the dropout; None for evaluation.

        Returns:
            One vector per token, laid out like `tokens.values`.
        """
        return self.cross_attention(tokens=tokens, source=source, head_gate=head_gate, key=key)


def _scaled(branch: Array, scale: nnx.Param[Array] | None) -> Array:
    """Multiplies a residual branch by its LayerScale, if it has one."""
    return branch if scale is None else branch * scale[...].astype(branch.dtype)
