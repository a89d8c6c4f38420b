"""What BLIP's tasks share (Li et al. 2022, official code salesforce/BLIP; Wang et al. 2024 for the trimming)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.models.base import VisionLanguageModel, trimmers_of
from smarttrim_jax.models.blip.config import BlipConfig
from smarttrim_jax.models.blip.readers import Reader, readers
from smarttrim_jax.models.layers import embed_images, encoder_run, existing, stack_policies
from smarttrim_jax.models.segments import Present, Segment, Stages, State
from smarttrim_jax.nn.inputs import check_same_examples
from smarttrim_jax.nn.text import TextEmbedding
from smarttrim_jax.nn.vision import VisionTransformer
from smarttrim_jax.tokens import Padded
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import GateKey
from smarttrim_jax.trimming.policies import SideShape


class Blip(VisionLanguageModel):
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
            self.trimmers = nnx.Dict(self._make_policies(config.trimming, rngs))

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
    def image_stages(self) -> Stages:
        """The image encoder and its last norm."""
        config, trimming = self.config, self.config.trimming or TrimmingConfig()
        run = encoder_run(
            "image",
            self.image,
            trimmers_of(self),
            trimming.image,
            scan=config.scan,
            remat=config.remat,
        )
        return [run, Segment("join", self.join, self.join_present)]

    def join(self, state: State) -> State:
        """The image as the text reads it."""
        image = state["image"]
        return state | {"image": image.replace(self.image.last_norm(image.values))}

    def join_present(self, present: Present) -> Present:
        """Which tokens are no padding, behind `join`."""
        return present

    @property
    def readers(self) -> dict[str, Reader]:
        """The runs that read other sides, by name."""
        return readers(self.config)

    def _make_policies(self, trimming: TrimmingConfig, rngs: nnx.Rngs) -> dict[str, nnx.Module]:
        vision, text = self.config.vision, self.config.text
        image_side = SideShape(vision.width, vision.heads)
        made = {GateKey("image", "image"): stack_policies(image_side, vision.depth, trimming.image, trimming, rngs)}
        if self.config.task == "retrieval":
            text_side = SideShape(text.width, text.heads)
            made[GateKey("text", "text")] = stack_policies(text_side, text.depth, trimming.text, trimming, rngs)
        found = existing(made)
        for reader in self.readers.values():
            found |= reader.make_policies(self.config, trimming, rngs)
        return found
