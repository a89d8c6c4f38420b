"""What every backbone is: embeddings, stages that may trim, and heads."""

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.models.config import ModelConfig
from smarttrim_jax.models.segments import Prefix, Stages, State, begin, fold_prefix, fold_stages
from smarttrim_jax.nn.primitives import split_key
from smarttrim_jax.trimming.gates import Trim, TrimRecord


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Output:
    """What a pass returns.

    Attributes:
        logits: float32, by the name of the head or the task; none where a decoder is yet to read the state.
        state: the tokens of every side after the last layer (METER's as many rows as images).
        record: every gate.
        pooled: `[batch, features]`, what METER's heads read: both sides of every image, text first.
    """

    logits: dict[str, Float[Array, "batch ..."]]
    state: State
    record: TrimRecord
    pooled: Float[Array, "batch features"] | None = None

    @property
    def result(self) -> dict[str, Array]:
        """What the pass is for: its logits, or the states that a decoder reads."""
        return self.logits or {"text": self.state["text"].values}


class VisionLanguageModel(nnx.Module):
    """A model as embeddings, stages that may trim, and heads.

    A subclass says what these are (`embed`, `stages`, `read_out`); the call and its parts are the same for all, and
    so is every way to execute the stages (padded, packed, adaptive). It is built as `Model(config, rngs=rngs)`.

    Attributes:
        config: Sizes and trimming.
        trimmers: The stacked trimmers by the name of their gates, where `config.trimming` is not None.
    """

    config: Any  # a ModelConfig of the subclass's own type
    trimmers: nnx.Dict

    def __call__(
        self,
        images: Float[Array, "batch *images height width 3"],
        ids: Int[Array, "batch tokens"],
        mask: Int[Array, "batch tokens"],
        *,
        trim: Trim | None = None,
        key: jax.Array | None = None,
    ) -> Output:
        """One pass.

        Args:
            images: Normalised images, `[batch, height, width, 3]` or `[batch, images, height, width, 3]`.
            ids: The ids of the text's tokens, `[batch, tokens]`; the first says what reads them, where there is more
                than one reader (BLIP's [ENC], [DEC], or [CLS] for a text alone).
            mask: 1 for tokens, 0 for padding, `[batch, tokens]`.
            trim: How the trimmers decide; None runs at full capacity.
            key: Random numbers of training (dropout and sampled gates); None for evaluation.

        Returns:
            Logits, states and the record of every gate.

        Raises:
            ConfigError: A model without trimmers that shall trim, offsets for another number of examples, another
                number of images, or a text that is too long.
        """
        if trim is not None:
            trim.check(ids.shape[0])
        return self.finish(prefix=self.prefix(images, ids, mask, key=key), trim=trim, key=key)

    def start(self, images: Array, ids: Array, mask: Array, *, key: jax.Array | None = None) -> Prefix:
        """Embeds a batch, before any stage.

        Args:
            images: As in a call.
            ids: As in a call.
            mask: As in a call.
            key: As in a call.

        Returns:
            The state before the first stage, and what decisions may know of the examples.
        """
        seed = example_seeds(self.config, images, ids=ids, mask=mask)
        return begin(self.embed(images, ids, mask, key=key), seed=seed)

    def prefix(self, images: Array, ids: Array, mask: Array, *, key: jax.Array | None = None) -> Prefix:
        """Runs the first part of a call, which is the same whether the call trims or not.

        Args:
            images: As in a call.
            ids: As in a call.
            mask: As in a call.
            key: As in a call.

        Returns:
            What `finish` goes on from.
        """
        keys = split_key(key, 2)
        return fold_prefix(self.stages, self.start(images, ids, mask, key=keys[0]), keys[1])

    def finish(self, prefix: Prefix, *, trim: Trim | None = None, key: jax.Array | None = None) -> Output:
        """Runs the stages behind the prefix, and the heads.

        Args:
            prefix: What `prefix` returned.
            trim: As in a call.
            key: The key that `prefix` had, or that of another pass over the same examples.

        Returns:
            As a call.

        Raises:
            ConfigError: A model without trimmers that shall trim.
        """
        state, record = run_stages(self, self.stages, prefix, trim, split_key(key, 2)[1])
        return self.read_out(state=state, record=record)

    @abc.abstractmethod
    def embed(self, images: Array, ids: Array, mask: Array, *, key: jax.Array | None = None) -> State:
        """Embeds a batch: the first tokens of every side.

        Args:
            images: As in a call.
            ids: As in a call.
            mask: As in a call.
            key: Random numbers of training; None for evaluation.

        Returns:
            The tokens of every side by its name; each image is a row of its own.

        Raises:
            ConfigError: Inputs of other shapes, or not one text for each example's images.
            DataError: Numbers that are no normalised pixels, token ids or mask.
        """

    @property
    @abc.abstractmethod
    def stages(self) -> Stages:
        """What runs between the embeddings and the heads, in order.

        No method: `nnx.tabulate` runs every public method under `jit`, which returns nothing but arrays.
        """

    @abc.abstractmethod
    def read_out(self, state: State, record: TrimRecord) -> Output:
        """Runs the heads.

        Args:
            state: The tokens of every side after the last stage.
            record: Every gate.

        Returns:
            As a call.
        """


def run_stages(
    model: VisionLanguageModel, stages: Stages, prefix: Prefix, trim: Trim | None, key: jax.Array | None
) -> tuple[State, TrimRecord]:
    """Runs some stages of a model.

    No method: `nnx.tabulate` prints the arguments of public methods, and stages hold the model's own layers.

    Args:
        model: The model.
        stages: The stages in order.
        prefix: What is done of them; without gates, the state before the first.
        trim: How the trimmers decide; None runs at full capacity.
        key: Random numbers of training; None for evaluation.

    Returns:
        The state after the last stage, and every gate.

    Raises:
        ConfigError: A model without trimmers that shall trim.
    """
    if trim is not None and model.config.trimming is None:
        raise ConfigError(f"this model has no trimmers; set `trimming` in its {type(model.config).__name__}")
    return fold_stages(stages, prefix, trim, key)


def example_seeds(
    config: ModelConfig, images: Array | None = None, *, ids: Array | None = None, mask: Array | None = None
) -> Int[Array, " batch"] | None:
    """A number for every example that depends on its inputs alone, the same in any batch and on any device.

    Pixels are rounded first: programs may normalise them with a last bit of difference.

    Args:
        config: Configuration of the model.
        images: As in a call; None where texts are alone.
        ids: As in a call; None where images are alone.
        mask: As in a call, beside the ids.

    Returns:
        Whole numbers of 32 bits; None for a policy that does not draw.
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


def _hashed(numbers: Int[Array, "batch ..."]) -> Int[Array, " batch"]:
    """A hash of each row; zeros at its end do not change it."""
    rows = numbers.reshape(numbers.shape[0], -1)
    weights = jnp.arange(1, rows.shape[1] + 1, dtype=jnp.uint32) * jnp.uint32(2654435761) | jnp.uint32(1)
    total = jnp.sum(rows * weights, axis=1, dtype=jnp.uint32)
    return (total ^ (total >> 15)) * jnp.uint32(2246822519)


def trimmers_of(model: VisionLanguageModel) -> dict[str, Any]:
    """The stacked trimmers of a model, by the name of their gates; none if it has none."""
    return by_name(model.trimmers) if model.config.trimming is not None else {}


def by_name(modules: nnx.Dict) -> dict[str, Any]:
    """The modules of an `nnx.Dict` by name.

    A module that runs asks here: `nnx.tabulate` replaces `items` and `get`, and leaves a note among the entries.
    """
    return {name: modules[name] for name in modules if isinstance(modules[name], nnx.Module)}
