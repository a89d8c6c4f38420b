"""The base class of BLIP's tasks (Li et al. 2022, official code salesforce/BLIP; trimming: Wang et al. 2024)."""

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
    """Base class of BLIP's tasks: the image encoder, and the trimmers of all runs; subclasses define the stages.

    Args:
        config: Sizes, task and trimming.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, config: BlipConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.image = VisionTransformer(config.vision, dtype=jnp.dtype(config.dtype), kernel=config.kernel, rngs=rngs)
        if config.trimming is not None:
            self.trimmers = nnx.Dict(self._make_policies(config.trimming, rngs))

    def _embed_pair(
        self, images: Array, side: str, text: TextEmbedding, ids: Array, mask: Array, key: jax.Array | None
    ) -> State:
        """Embeds images and a text for each example.

        Args:
            images: Normalised images, as `VisionLanguageModel.__call__` takes them.
            side: Name of the text's side in the state.
            text: The text embedding.
            ids: Token ids of the texts, `[batch, tokens]`.
            mask: 1 for tokens, 0 for padding, `[batch, tokens]`.
            key: Random key of the dropout; None for evaluation.

        Returns:
            The tokens of side "image" and of the text's side.

        Raises:
            ConfigError: Inputs have other shapes, or there is not one text for each example's images.
            DataError: Numbers are no normalised pixels, token ids or mask.
        """
        check_same_examples("examples of images", images.shape[0], "texts", ids.shape[0])
        return {"image": self.embed_images(images), side: text.embed(ids, mask, key=key)}

    def embed_images(self, images: Float[Array, "batch *images height width 3"]) -> Padded:
        """Embeds all images; those of an example are consecutive rows.

        Args:
            images: Normalised images, `[batch, height, width, 3]` or `[batch, images, height, width, 3]`.

        Returns:
            The tokens before the first layer, one row per image.

        Raises:
            ConfigError: Images have another shape, or their number per example differs from the model's.
            DataError: Images hold integers.
        """
        return embed_images(self.image, images, self.config.images)

    @property
    def image_stages(self) -> Stages:
        """The stages of the image encoder and its last norm."""
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
        """Applies the image encoder's last norm, after which the text reads the image.

        Args:
            state: The state after the image encoder.

        Returns:
            The state with normalised image tokens.
        """
        image = state["image"]
        return state | {"image": image.replace(self.image.last_norm(image.values))}

    def join_present(self, present: Present) -> Present:
        """Updates `ExampleInfo.present` for `join`; here nothing changes.

        Args:
            present: For each side, `[rows, tokens]`, 1 for tokens that are no padding.

        Returns:
            `present`.
        """
        return present

    @property
    def readers(self) -> dict[str, Reader]:
        """The runs that read other sides by cross-attention, by name."""
        return readers(self.config)

    def _make_policies(self, trimming: TrimmingConfig, rngs: nnx.Rngs) -> dict[str, nnx.Module]:
        """Builds the stacked policies of all runs that trim anything, by the name of their gates."""
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
