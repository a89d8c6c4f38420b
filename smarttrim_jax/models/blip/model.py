"""What BLIP's tasks share (Li et al. 2022, official code salesforce/BLIP; Wang et al. 2024 for the trimming)."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.models.blip.config import BlipConfig
from smarttrim_jax.models.blip.readers import Reader, readers
from smarttrim_jax.models.layers import by_name, embed_images, encoder_run, existing, stack_trimmers
from smarttrim_jax.models.output import Output
from smarttrim_jax.models.segments import GatesByRun, Prefix, Run, Segment, State, fold_prefix, fold_stages
from smarttrim_jax.nn.inputs import check_same_examples
from smarttrim_jax.nn.regularization import split_key
from smarttrim_jax.nn.text import TextEmbedding
from smarttrim_jax.nn.vision import VisionTransformer
from smarttrim_jax.tokens import Padded
from smarttrim_jax.trimming.gates import Trim, TrimRecord
from smarttrim_jax.trimming.trimmers import TrimmingConfig


class Blip(nnx.Module):
    """The image encoder, trimmers for all runs, and the fold over the stages that a task defines.

    Args:
        config: sizes, task and trimming.
        rngs: for the initial weights.
    """

    def __init__(self, config: BlipConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.image = VisionTransformer(
            config.vision, dtype=jnp.dtype(config.dtype), kernel=config.attention, rngs=rngs
        )
        if config.trimming is not None:
            self.trimmers = nnx.Dict(self._make_trimmers(config.trimming, rngs))

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
            images: normalised, `[batch, height, width, 3]`, or `[batch, images, height, width, 3]` (NLVR2: 2).
            ids: of the text's tokens; the first says what reads them: [ENC], [DEC], or [CLS] for a text alone.
            mask: 1 for tokens, 0 for padding.
            trim: how the trimmers decide; None runs at full capacity.
            key: training (dropout and sampled gates) with these random numbers; None for evaluation.

        Raises:
            ConfigError: trimming a model without trimmers, another number of images, a text that is too long.
        """
        if trim is not None:
            trim.check(ids.shape[0])
        return self.finish(prefix=self.prefix(images, ids, mask, key=key), trim=trim, key=key)

    def prefix(self, images: Array, ids: Array, mask: Array, *, key: jax.Array | None = None) -> Prefix:
        """The first part of a call, the same whether it trims or not; arguments as in a call."""
        keys = split_key(key, 2)
        return fold_prefix(self.stages, self.embed(images, ids, mask, key=keys[0]), keys[1])

    def finish(self, prefix: Prefix, *, trim: Trim | None = None, key: jax.Array | None = None) -> Output:
        """The other part of a call; arguments as in a call."""
        return self.read_out(*self._fold(self.stages, prefix, trim, split_key(key, 2)[1]))

    @abc.abstractmethod
    def embed(self, images: Array, ids: Array, mask: Array, *, key: jax.Array | None = None) -> State:
        """The first tokens of every side; each image is a row of its own."""

    @property
    @abc.abstractmethod
    def stages(self) -> list[Segment | Run]:
        """What runs between the embeddings and the heads, in order.

        No method: `nnx.tabulate` runs every public method under `jit`, which returns nothing but arrays.
        """

    @abc.abstractmethod
    def read_out(self, state: State, gates: GatesByRun, present: dict[str, Array]) -> Output:
        """The heads on the state after the last stage.

        Args:
            state: after the last stage.
            gates: of every run.
            present: `[batch, tokens]` of every side before the first layer.
        """

    def _fold(
        self, stages: list[Segment | Run], prefix: Prefix, trim: Trim | None, key: jax.Array | None
    ) -> tuple[State, GatesByRun, dict[str, Array]]:
        """The state after the stages, their gates, and which tokens were present before them.

        Args:
            stages: in order.
            prefix: what is done of them; without gates, the state before the first.
            trim: how the trimmers decide.
            key: None for evaluation.

        Raises:
            ConfigError: trimming a model without trimmers.
        """
        if trim is not None and self.config.trimming is None:
            raise ConfigError("this model has no trimmers; set `trimming` in its BlipConfig")
        present = {side: tokens.padded_gate for side, tokens in prefix.state.items()}
        state, gates = fold_stages(stages, prefix.state, trim, key, done=prefix.gates)
        return state, gates, present

    def _embed_pair(
        self, images: Array, side: str, text: TextEmbedding, ids: Array, mask: Array, key: jax.Array | None
    ) -> State:
        """The first tokens of images and of a text for each.

        Args:
            images: as in a call.
            side: what the text is called in the state.
            text: with its word table.
            ids: as in a call.
            mask: as in a call.
            key: None for evaluation.

        Raises:
            ConfigError: inputs of other shapes, or not one text for each example's images.
            DataError: numbers that are no normalised pixels, token ids or mask.
        """
        check_same_examples("examples of images", images.shape[0], "texts", ids.shape[0])
        return {"image": self.embed_images(images), side: text.embed(ids, mask, key=key)}

    def embed_images(self, images: Float[Array, "batch *images height width 3"]) -> Padded:
        """Patches of all images; those of an example one after the other."""
        return embed_images(self.image, images, self.config.images)

    @property
    def image_stages(self) -> list[Segment | Run]:
        """The image encoder and its last norm."""
        config, trimming = self.config, self.config.trimming or TrimmingConfig()
        run = encoder_run(
            "image",
            self.image,
            self.all_trimmers.get("image"),
            trimming.image,
            scan=config.scan,
            remat=config.remat,
        )
        return [run, Segment("join", self.join)]

    def join(self, state: State) -> State:
        """The image as the text reads it."""
        image = state["image"]
        return state | {"image": image.replace(self.image.last_norm(image.values))}

    @property
    def readers(self) -> dict[str, Reader]:
        """The runs that read other sides, by name."""
        return readers(self.config)

    @property
    def all_trimmers(self) -> dict[str, Any]:
        """The stacked trimmers by the name of their gates."""
        return by_name(self.trimmers) if self.config.trimming is not None else {}

    def _make_trimmers(self, trimming: TrimmingConfig, rngs: nnx.Rngs) -> dict[str, nnx.Module]:
        config, shape = self.config, trimming.trimmers
        vision, text = config.vision, config.text
        made = {"image": stack_trimmers(vision.width, vision.heads, vision.depth, trimming.image, shape, rngs)}
        if config.task == "retrieval":
            made["text"] = stack_trimmers(text.width, text.heads, text.depth, trimming.text, shape, rngs)
        found = existing(made)
        for reader in self.readers.values():
            found |= reader.make_trimmers(config, trimming, rngs)
        return found


def make_record(gates: GatesByRun, present: dict[str, Array]) -> TrimRecord:
    """The record of runs whose gates are called by run and side.

    Args:
        gates: of every run.
        present: `[batch, tokens]` of every side.
    """
    return TrimRecord(gates, {name: present[name.rpartition("_")[2]] for name in gates})
