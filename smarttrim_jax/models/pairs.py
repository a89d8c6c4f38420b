"""Models that encode images alone and read texts beside them, so that one image is encoded once for many texts."""

import abc

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from smarttrim_jax.models.base import Output, VisionLanguageModel, example_seeds, run_stages
from smarttrim_jax.models.segments import Prefix, Stages, begin, fold_prefix
from smarttrim_jax.nn.inputs import check_same_examples
from smarttrim_jax.nn.primitives import split_key
from smarttrim_jax.nn.text import TextTransformer
from smarttrim_jax.tokens import Padded, Tokens
from smarttrim_jax.trimming.gates import Trim


class PairReader(VisionLanguageModel):
    """Base of models whose image encoder reads no text.

    Attributes:
        text: Text encoder.
    """

    text: TextTransformer

    @abc.abstractmethod
    def embed_images(self, images: Float[Array, "batch *images height width 3"]) -> Padded:
        """Embeds images.

        Args:
            images: Normalised images, `[batch, height, width, 3]` or `[batch, images, height, width, 3]`.

        Returns:
            The tokens before the first layer, one row per image.
        """

    @property
    @abc.abstractmethod
    def image_stages(self) -> Stages:
        """The stages that see images alone."""

    @property
    @abc.abstractmethod
    def pair_stages(self) -> Stages:
        """The stages that follow them."""

    @property
    def stages(self) -> Stages:
        """The stages of images alone, then those of pairs."""
        return [*self.image_stages, *self.pair_stages]

    def image_prefix(
        self, images: Float[Array, "batch *images height width 3"], *, key: jax.Array | None = None
    ) -> Prefix:
        """Runs the first layers of images alone, which are the same whether they are trimmed afterwards or not.

        Args:
            images: Normalised images, as `embed_images` takes them.
            key: Random key of training; None for evaluation.

        Returns:
            The state from which `image_stages` continue.
        """
        return fold_prefix(self.image_stages, self.start_images(images), key)

    def start_images(self, images: Float[Array, "batch *images height width 3"]) -> Prefix:
        """Embeds images on their own, before any stage.

        Args:
            images: Normalised images, as `embed_images` takes them.

        Returns:
            The state before the first of `image_stages`.
        """
        return begin({"image": self.embed_images(images)}, seed=example_seeds(self.config, images))

    def match(
        self,
        image: Tokens,
        ids: Int[Array, "batch tokens"],
        mask: Int[Array, "batch tokens"],
        *,
        trim: Trim | None = None,
        key: jax.Array | None = None,
    ) -> Output:
        """Reads texts beside encoded images.

        Args:
            image: Image tokens after `image_stages`, or some of their rows by `Tokens.take` or `Tokens.repeat`.
            ids: Token ids, `[batch, tokens]`, one text per image, each as in a call of the model.
            mask: 1 for tokens, 0 for padding, `[batch, tokens]`.
            trim: How the trimmers decide; None runs at full capacity.
            key: Random key of training; None for evaluation.

        Returns:
            The output of the model for these pairs. The record lacks the gates of the image encoder; joined with
            them it equals the record of a call.

        Raises:
            ConfigError: The numbers of images and texts differ, or `trim` is given to a model without trimmers.
            DataError: Ids or mask hold values that cannot be used.
        """
        check_same_examples("encoded images", image.shape[0], "texts", ids.shape[0])
        keys = split_key(key, 2)
        state = {"image": image, "text": self.text.embed(ids, mask, key=keys[0])}
        seed = example_seeds(self.config, ids=ids, mask=mask)
        prefix = begin(state, present={"image": jnp.ones_like(image.padded_gate)}, seed=seed)
        state, record = run_stages(self, self.pair_stages, prefix, trim, keys[1])
        return self.read_out(state=state, record=record)
