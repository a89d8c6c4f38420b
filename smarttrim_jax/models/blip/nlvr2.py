"""BLIP for NLVR2: judges a statement about two images."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.models.base import Output, trimmers_of
from smarttrim_jax.models.blip.config import BlipConfig
from smarttrim_jax.models.blip.model import Blip
from smarttrim_jax.models.blip.text import TwinTextTransformer
from smarttrim_jax.models.segments import Present, Stages, State
from smarttrim_jax.nn.primitives import Linear
from smarttrim_jax.trimming.gates import TrimRecord


class StatementHead(nnx.Module):
    """A linear map, ReLU, and a linear map on the text's global token.

    Args:
        config: Sizes and data type of the model.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, config: BlipConfig, *, rngs: nnx.Rngs):
        width, dtype = config.text.width, jnp.dtype(config.dtype)
        self.dense = Linear(width, width, dtype=dtype, rngs=rngs)
        self.out = Linear(width, 2, dtype=dtype, rngs=rngs)

    def __call__(self, global_token: Float[Array, "batch width"]) -> Float[Array, "batch 2"]:
        """Scores "false" and "true".

        Args:
            global_token: The text's global token, `[batch, width]`.

        Returns:
            float32 logits, `[batch, 2]`.
        """
        return self.out(jax.nn.relu(self.dense(global_token))).astype(jnp.float32)


class BlipNlvr2(Blip):
    """Judgement of statements; a call returns `logits["nlvr2"]`, `[batch, 2]`: false, true.

    The state after a call holds the images as sides "image0" and "image1".

    Args:
        config: Sizes, task and trimming.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, config: BlipConfig, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        self.text = TwinTextTransformer(config, rngs=rngs)
        self.head = StatementHead(config, rngs=rngs)

    def embed(self, images: Array, ids: Array, mask: Array, *, key: jax.Array | None = None) -> State:
        """Embeds both images and the statement, which begins with [ENC]; see `VisionLanguageModel.embed`."""
        return self._embed_pair(images, "text", self.text, ids, mask, key)

    @property
    def stages(self) -> Stages:
        """The image encoder on both images, then the text's layers that read both."""
        layers = {"fusion": self.text.layers, "merge": self.text.merge_layers}
        trimmers = trimmers_of(self)
        runs = [reader.run(layers[name], trimmers, self.config) for name, reader in self.readers.items()]
        return [*self.image_stages, *runs]

    def join(self, state: State) -> State:
        """Applies the image encoder's last norm, and moves each of the two images to a side of its own.

        Args:
            state: The state after the image encoder.

        Returns:
            The sides "text", "image0" and "image1", with one row per example each.
        """
        images = super().join(state)["image"].split_by_image(self.config.images)
        return {"text": state["text"], **{f"image{i}": image for i, image in enumerate(images)}}

    def join_present(self, present: Present) -> Present:
        """Updates `ExampleInfo.present` for `join`, which moves each image to a side of its own.

        Args:
            present: For sides "image" and "text", `[rows, tokens]`, 1 for tokens that are no padding.

        Returns:
            The same for sides "text", "image0" and "image1".
        """
        images = present["image"].reshape(-1, self.config.images, present["image"].shape[-1])
        return {"text": present["text"], **{f"image{i}": images[:, i] for i in range(self.config.images)}}

    def read_out(self, state: State, record: TrimRecord) -> Output:
        """Runs the head on the text's global token; see `VisionLanguageModel.read_out`."""
        return Output({"nlvr2": self.head(state["text"].global_token)}, state, record)
