"""BLIP that judges a statement about two images."""

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
    """Linear, ReLU, linear on the text's global token."""

    def __init__(self, config: BlipConfig, *, rngs: nnx.Rngs):
        width, dtype = config.text.width, jnp.dtype(config.dtype)
        self.dense = Linear(width, width, dtype=dtype, rngs=rngs)
        self.out = Linear(width, 2, dtype=dtype, rngs=rngs)

    def __call__(self, global_token: Float[Array, "batch width"]) -> Float[Array, "batch 2"]:
        """float32 logits of false and true."""
        return self.out(jax.nn.relu(self.dense(global_token))).astype(jnp.float32)


class BlipNlvr2(Blip):
    """A call returns `logits["nlvr2"]`, `[batch, 2]`; the images are sides "image0" and "image1" of the state."""

    def __init__(self, config: BlipConfig, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        self.text = TwinTextTransformer(config, rngs=rngs)
        self.head = StatementHead(config, rngs=rngs)

    def embed(self, images: Array, ids: Array, mask: Array, *, key: jax.Array | None = None) -> State:
        """Both images, one after the other, and the statement, which begins with [ENC]."""
        return self._embed_pair(images, "text", self.text, ids, mask, key)

    @property
    def stages(self) -> Stages:
        """The image encoder on both images, then the text's layers that read both."""
        layers = {"fusion": self.text.layers, "merge": self.text.merge_layers}
        trimmers = trimmers_of(self)
        runs = [reader.run(layers[name], trimmers, self.config) for name, reader in self.readers.items()]
        return [*self.image_stages, *runs]

    def join(self, state: State) -> State:
        """Each image on a side of its own."""
        images = super().join(state)["image"].split_by_image(self.config.images)
        return {"text": state["text"], **{f"image{i}": image for i, image in enumerate(images)}}

    def join_present(self, present: Present) -> Present:
        """Which tokens are no padding, each image on a side of its own."""
        images = present["image"].reshape(-1, self.config.images, present["image"].shape[-1])
        return {"text": present["text"], **{f"image{i}": images[:, i] for i in range(self.config.images)}}

    def read_out(self, state: State, record: TrimRecord) -> Output:
        """Runs the head on the text's global token; see `VisionLanguageModel.read_out`."""
        return Output({"nlvr2": self.head(state["text"].global_token)}, state, record)
