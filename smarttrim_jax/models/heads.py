"""Task heads on METER's joint feature and text states (official file heads.py and meter_module.py)."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from smarttrim_jax.configuration import Settings
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.nn.layers import gelu, layer_norm
from smarttrim_jax.nn.primitives import Linear
from smarttrim_jax.ranges import Name, NonNegativeInt


@dataclasses.dataclass(frozen=True)
class HeadConfig(Settings):
    """One head.

    Attributes:
        name: Name of the task and of its logits: "vqa", "nlvr2", "snli", "itm", "rank", "mlm".
        kind: "classifier" (linear, norm, GELU, linear) and "linear" read the joint feature; "mlm" the text states.
        outputs: Number of answers, labels, or words; 0 takes as many as the data has answers.
    """

    name: Name
    kind: Literal["classifier", "linear", "mlm"] = "classifier"
    outputs: NonNegativeInt = 2


class Pooler(nnx.Module):
    """Linear and tanh on the global token."""

    def __init__(self, width: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.dense = Linear(width, width, dtype=dtype, rngs=rngs)

    def __call__(self, global_token: Float[Array, "batch width"]) -> Float[Array, "batch width"]:
        """The pooled side."""
        return jnp.tanh(self.dense(global_token))


class Classifier(nnx.Module):
    """Linear to twice the fusion's width, LayerNorm (1e-5), GELU, linear to the answers."""

    def __init__(self, features: int, hidden: int, outputs: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.dense = Linear(features, hidden, dtype=dtype, rngs=rngs)
        self.norm = layer_norm(hidden, 1e-5, dtype=dtype, rngs=rngs)
        self.out = Linear(hidden, outputs, dtype=dtype, rngs=rngs)

    def __call__(self, joint: Float[Array, "batch features"]) -> Float[Array, "batch outputs"]:
        """Logits."""
        return self.out(gelu(self.norm(self.dense(joint))))


class MaskedLanguageHead(nnx.Module):
    """Dense, GELU, norm and a decoder to the vocabulary, for every text token."""

    def __init__(self, width: int, vocabulary: int, epsilon: float, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.dense = Linear(width, width, dtype=dtype, rngs=rngs)
        self.norm = layer_norm(width, epsilon, dtype=dtype, rngs=rngs)
        self.out = Linear(width, vocabulary, dtype=dtype, rngs=rngs)

    def __call__(self, text: Float[Array, "batch tokens width"]) -> Float[Array, "batch tokens words"]:
        """Logits of every word at every text position."""
        return self.out(self.norm(gelu(self.dense(text))))


class TaskHead(nnx.Module):
    """The head a `HeadConfig` asks for.

    Args:
        config: which head.
        width: of the fusion.
        images: images per example; their joint features are concatenated.
        epsilon: of the fusion's norms, which the language head shares.
        dtype: of the computation.
        rngs: for the initial weights.
    """

    def __init__(
        self, config: HeadConfig, width: int, images: int, epsilon: float, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        if config.outputs < 1:
            raise ConfigError(
                f"head '{config.name}' has {config.outputs} outputs, which the data set fills in; set "
                "them to build a model without one"
            )
        self.kind = config.kind
        features = 2 * width * images
        self.net: Classifier | Linear | MaskedLanguageHead
        if config.kind == "classifier":
            self.net = Classifier(features, 2 * width, config.outputs, dtype=dtype, rngs=rngs)
        elif config.kind == "linear":
            self.net = Linear(features, config.outputs, dtype=dtype, rngs=rngs)
        else:
            self.net = MaskedLanguageHead(width, config.outputs, epsilon, dtype=dtype, rngs=rngs)

    def __call__(self, joint: jax.Array, text: jax.Array) -> jax.Array:
        """float32 logits from the joint feature `[batch, features]` or the text states `[batch, tokens, width]`."""
        return self.net(text if self.kind == "mlm" else joint).astype(jnp.float32)


def head_macs(config: HeadConfig, width: int, images: int) -> int:
    """Multiply-adds of a head for one example; the language head, which only pre-training runs, counts per token."""
    features = 2 * width * images
    if config.kind == "classifier":
        return features * 2 * width + 2 * width * config.outputs
    if config.kind == "linear":
        return features * config.outputs
    return width * width + width * config.outputs
