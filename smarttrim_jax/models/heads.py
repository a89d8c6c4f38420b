"""Task heads on METER's joint feature and text states (official files heads.py and meter_module.py)."""

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
    """The name, kind and size of one task head.

    Attributes:
        name: Name of the task and of its logits: "vqa", "nlvr2", "snli", "itm", "rank", "mlm".
        kind: "classifier" (linear, norm, GELU, linear) and "linear" read the joint feature; "mlm" the text states.
        outputs: Number of answers, labels, or words; 0 takes as many as the data has answers.
    """

    name: Name
    kind: Literal["classifier", "linear", "mlm"] = "classifier"
    outputs: NonNegativeInt = 2


class Pooler(nnx.Module):
    """A linear map and tanh on the global token.

    Args:
        width: Width of the tokens.
        dtype: Data type of the computation.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, width: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.dense = Linear(width, width, dtype=dtype, rngs=rngs)

    def __call__(self, global_token: Float[Array, "batch width"]) -> Float[Array, "batch width"]:
        """Pools one side.

        Args:
            global_token: `[batch, width]`.

        Returns:
            `[batch, width]`.
        """
        return jnp.tanh(self.dense(global_token))


class Classifier(nnx.Module):
    """A linear map to the hidden width, LayerNorm (epsilon 1e-5), GELU, and a linear map to the answers.

    Args:
        features: Width of the joint feature.
        hidden: Hidden width; METER uses twice the fusion's width.
        outputs: Number of answers.
        dtype: Data type of the computation.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, features: int, hidden: int, outputs: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.dense = Linear(features, hidden, dtype=dtype, rngs=rngs)
        self.norm = layer_norm(hidden, 1e-5, dtype=dtype, rngs=rngs)
        self.out = Linear(hidden, outputs, dtype=dtype, rngs=rngs)

    def __call__(self, joint: Float[Array, "batch features"]) -> Float[Array, "batch outputs"]:
        """Scores the answers.

        Args:
            joint: Joint features, `[batch, features]`.

        Returns:
            Logits, `[batch, outputs]`.
        """
        return self.out(gelu(self.norm(self.dense(joint))))


class MaskedLanguageHead(nnx.Module):
    """A linear map, GELU, norm, and a linear map to the vocabulary, for each text token.

    Args:
        width: Width of the text states.
        vocabulary: Number of words.
        epsilon: Epsilon of the norm.
        dtype: Data type of the computation.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, width: int, vocabulary: int, epsilon: float, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.dense = Linear(width, width, dtype=dtype, rngs=rngs)
        self.norm = layer_norm(width, epsilon, dtype=dtype, rngs=rngs)
        self.out = Linear(width, vocabulary, dtype=dtype, rngs=rngs)

    def __call__(self, text: Float[Array, "batch tokens width"]) -> Float[Array, "batch tokens words"]:
        """Scores all words at each text position.

        Args:
            text: Text states, `[batch, tokens, width]`.

        Returns:
            Logits, `[batch, tokens, words]`.
        """
        return self.out(self.norm(gelu(self.dense(text))))


class TaskHead(nnx.Module):
    """The head that a `HeadConfig` describes.

    Args:
        config: The kind and the size of the head.
        width: Width of the fusion.
        images: Images per example; their joint features are concatenated.
        epsilon: Epsilon of the fusion's norms, which the language head shares.
        dtype: Data type of the computation.
        rngs: Random numbers of the initial weights.

    Raises:
        ConfigError: `outputs` is 0, which means that it was not yet set from the data.
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
        """Computes float32 logits from the input that the kind of head reads.

        Args:
            joint: Joint features, `[batch, features]`; read by "classifier" and "linear".
            text: Text states, `[batch, tokens, width]`; read by "mlm".

        Returns:
            `[batch, outputs]`, or `[batch, tokens, outputs]` for "mlm".
        """
        return self.net(text if self.kind == "mlm" else joint).astype(jnp.float32)


def head_macs(config: HeadConfig, width: int, images: int) -> int:
    """Counts the multiply-adds of a head for one example.

    Args:
        config: The kind and the size of the head.
        width: Width of the fusion.
        images: Images per example.

    Returns:
        MACs. A language head, which only pre-training runs, is counted for a single token.
    """
    features = 2 * width * images
    if config.kind == "classifier":
        return features * 2 * width + 2 * width * config.outputs
    if config.kind == "linear":
        return features * config.outputs
    return width * width + width * config.outputs
