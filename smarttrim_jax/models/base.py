"""The base class of all backbones: embeddings, stages that may trim, and heads."""

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Integer

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.models.config import ModelConfig
from smarttrim_jax.models.segments import Prefix, Stages, State, begin, fold_prefix, fold_stages
from smarttrim_jax.nn.primitives import split_key
from smarttrim_jax.trimming.gates import Trim, TrimRecord


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Output:
    """The result of a forward pass.

    Attributes:
        logits: Logits in float32, by the name of the head or the task; empty where a decoder still has to read the
            state.
        state: The tokens of each side after the last layer (METER's have as many rows as there are images).
        record: All gates.
        pooled: `[batch, features]`, the joint feature that METER's heads read: both pooled sides of each image, text
            first. None for other backbones.
    """

    logits: dict[str, Float[Array, "batch ..."]]
    state: State
    record: TrimRecord
    pooled: Float[Array, "batch features"] | None = None

    @property
    def result(self) -> dict[str, Array]:
        """The logits, or the text states that a decoder reads if there are none."""
        return self.logits or {"text": self.state["text"].values}


class VisionLanguageModel(nnx.Module):
    """A model as embeddings, stages that may trim, and heads.

    A subclass defines these (`embed`, `stages`, `read_out`). The call and its parts are inherited, and each execution
    (padded, packed, one program) runs the same stages. A model is built as `Model(config, rngs=rngs)`.

    Attributes:
        config: Sizes and trimming.
        trimmers: The stacked trimmers, by the name of their gates; exists if `config.trimming` is not None.
    """

    config: Any  # a ModelConfig of the subclass's own type
    trimmers: Any

    def __call__(
        self,
        images: Float[Array, "batch *images height width 3"],
        ids: Int[Array, "batch tokens"] | None = None,
        mask: Int[Array, "batch tokens"] | None = None,
        *,
        trim: Trim | None = None,
        key: jax.Array | None = None,
    ) -> Output:
        """Runs one forward pass.

        Args:
            images: Normalised images, `[batch, height, width, 3]` or `[batch, images, height, width, 3]`.
            ids: Token ids of the texts, `[batch, tokens]`. The first token selects the reader where there are several
                (BLIP's [ENC], [DEC], or [CLS] for a text alone). None for a model of images alone.
            mask: 1 for tokens, 0 for padding, `[batch, tokens]`; None where there are no ids.
            trim: How the trimmers decide; None runs at full capacity.
            key: Random key of training (dropout and sampled gates); None for evaluation.

        Returns:
            Logits, states and the record of all gates.

        Raises:
            ConfigError: `trim` is given to a model without trimmers, the offsets are for another number of examples,
                the number of images per example differs from the model's, or a text is too long.
        """
        if trim is not None:
            trim.check(images.shape[0])
        return self.finish(prefix=self.prefix(images, ids, mask, key=key), trim=trim, key=key)

    def start(
        self, images: Array, ids: Array | None = None, mask: Array | None = None, *, key: jax.Array | None = None
    ) -> Prefix:
        """Embeds a batch, before any stage.

        Args:
            images: Normalised images, as `__call__` takes them.
            ids: Token ids of the texts, as in a call.
            mask: 1 for tokens, 0 for padding, as in a call.
            key: Random key of the dropout; None for evaluation.

        Returns:
            The state before the first stage, and what decisions may know of the examples.
        """
        seed = example_seeds(self.config, images, ids=ids, mask=mask)
        no_text = jnp.zeros((images.shape[0], 0), jnp.int32)
        ids = no_text if ids is None else ids
        mask = no_text if mask is None else mask
        return begin(self.embed(images, ids, mask, key=key), seed=seed)

    def prefix(
        self, images: Array, ids: Array | None = None, mask: Array | None = None, *, key: jax.Array | None = None
    ) -> Prefix:
        """Runs the first part of a call, which is the same whether the call trims or not.

        Args:
            images: Normalised images, as `__call__` takes them.
            ids: Token ids of the texts, as in a call.
            mask: 1 for tokens, 0 for padding, as in a call.
            key: Random key of training; None for evaluation.

        Returns:
            The state from which `finish` continues.
        """
        keys = split_key(key, 2)
        return fold_prefix(self.stages, self.start(images, ids, mask, key=keys[0]), keys[1])

    def finish(self, prefix: Prefix, *, trim: Trim | None = None, key: jax.Array | None = None) -> Output:
        """Runs the stages after the shared prefix, and the heads.

        Args:
            prefix: Result of `prefix`.
            trim: How the trimmers decide; None runs at full capacity.
            key: The key that `prefix` was called with, or that of another pass over the same examples; None for
                evaluation.

        Returns:
            Logits, states and the record of all gates.

        Raises:
            ConfigError: `trim` is given to a model without trimmers.
        """
        state, record = run_stages(self, self.stages, prefix, trim, split_key(key, 2)[1])
        return self.read_out(state=state, record=record)

    @abc.abstractmethod
    def embed(self, images: Array, ids: Array, mask: Array, *, key: jax.Array | None = None) -> State:
        """Embeds a batch: the tokens of each side before the first layer.

        Args:
            images: Normalised images, as `__call__` takes them.
            ids: Token ids of the texts, `[batch, tokens]`; `[batch, 0]` where the call has none.
            mask: 1 for tokens, 0 for padding, shaped like the ids.
            key: Random key of the dropout; None for evaluation.

        Returns:
            The tokens of each side by its name; each image is a row of its own.

        Raises:
            ConfigError: Inputs have other shapes, or there is not one text for each example's images.
            DataError: Numbers are no normalised pixels, token ids or mask.
        """

    @property
    @abc.abstractmethod
    def stages(self) -> Stages:
        """The stages between the embeddings and the heads, in order.

        This is a property because `nnx.tabulate` runs each public method under `jit`, which can only return arrays.
        """

    @abc.abstractmethod
    def read_out(self, state: State, record: TrimRecord) -> Output:
        """Runs the heads.

        Args:
            state: The tokens of each side after the last stage.
            record: All gates.

        Returns:
            Logits, states and the record.
        """


def run_stages(
    model: VisionLanguageModel, stages: Stages, prefix: Prefix, trim: Trim | None, key: jax.Array | None
) -> tuple[State, TrimRecord]:
    """Runs some stages of a model.

    This is a function because `nnx.tabulate` prints the arguments of public methods, and stages hold the model's own
    layers.

    Args:
        model: The model.
        stages: The stages in order.
        prefix: Result of the stages that already ran; without gates, the state before the first stage.
        trim: How the trimmers decide; None runs at full capacity.
        key: Random key of training; None for evaluation.

    Returns:
        The state after the last stage, and all gates.

    Raises:
        ConfigError: `trim` is given to a model without trimmers.
    """
    if trim is not None and model.config.trimming is None:
        raise ConfigError(f"this model has no trimmers; set `trimming` in its {type(model.config).__name__}")
    return fold_stages(stages, prefix, trim, key)


def example_seeds(
    config: ModelConfig, images: Array | None = None, *, ids: Array | None = None, mask: Array | None = None
) -> Integer[Array, " batch"] | None:
    """Computes a number for each example that depends on its inputs alone, in any batch and on any device.

    Pixels are rounded first, because compiled programs may normalise them with a difference in the last bit.

    Args:
        config: Configuration of the model.
        images: Normalised images, `[batch, ...]`; None for texts alone.
        ids: Token ids of the texts, `[batch, tokens]`; None for images alone.
        mask: 1 for tokens, 0 for padding, `[batch, tokens]`; given together with `ids`.

    Returns:
        `[batch]`, uint32; None if the model's policy does not draw at random.
    """
    if config.trimming is None or not config.trimming.policy.draws:
        return None
    parts = []
    if images is not None:
        levels = jnp.floor(jnp.asarray(images, jnp.float32) * 16 + 0.37).astype(jnp.int32)
        parts.append(_hashed(levels.astype(jnp.uint32)) * jnp.uint32(31))
    if ids is not None:
        words = (jnp.asarray(ids) + 1).astype(jnp.uint32) * jnp.asarray(mask).astype(jnp.uint32)
        parts.append(_hashed(words))
    return jnp.sum(jnp.stack(parts), axis=0, dtype=jnp.uint32)


def _hashed(numbers: Integer[Array, "batch ..."]) -> Integer[Array, " batch"]:
    """Hashes each row to a uint32; trailing zeros do not change the result."""
    rows = numbers.reshape(numbers.shape[0], -1)
    weights = jnp.arange(1, rows.shape[1] + 1, dtype=jnp.uint32) * jnp.uint32(2654435761) | jnp.uint32(1)
    total = jnp.sum(rows * weights, axis=1, dtype=jnp.uint32)
    hashes: Array = (total ^ (total >> 15)) * jnp.uint32(2246822519)
    return hashes


def trimmers_of(model: VisionLanguageModel) -> dict[str, Any]:
    """Returns the stacked trimmers of a model.

    Args:
        model: The model.

    Returns:
        The trimmers by the name of their gates; empty if the model has none.
    """
    return by_name(model.trimmers) if model.config.trimming is not None else {}


def by_name(modules: nnx.Dict[Any]) -> dict[str, Any]:
    """Lists the modules of an `nnx.Dict` by name.

    Use it inside a module that runs: `nnx.tabulate` replaces `items` and `get`, and adds an entry that is no module.

    Args:
        modules: The `nnx.Dict`.

    Returns:
        The modules by name.
    """
    return {name: modules[name] for name in modules if isinstance(modules[name], nnx.Module)}
