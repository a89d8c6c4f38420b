"""BLIP for captioning: a decoder that reads the image."""

import jax
from flax import nnx
from jaxtyping import Array

from smarttrim_jax.models.base import Output, trimmers_of
from smarttrim_jax.models.blip.config import BlipConfig
from smarttrim_jax.models.blip.model import Blip
from smarttrim_jax.models.blip.text import TextDecoder
from smarttrim_jax.models.segments import Stages, State
from smarttrim_jax.trimming.gates import TrimRecord


class BlipCaption(Blip):
    """Captioning; a call reads given captions and scores the next word at each token (teacher forcing).

    It returns `logits["caption"]`, `[batch, tokens, words]`, of the word after each token. The trimmers' decisions
    depend on the image and the caption's first token alone, so they are the same while a caption is being generated.

    Args:
        config: Sizes, task and trimming.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, config: BlipConfig, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        self.decoder = TextDecoder(config, config.vision.width, rngs=rngs)

    def embed(self, images: Array, ids: Array, mask: Array, *, key: jax.Array | None = None) -> State:
        """Embeds an image and its caption, which begins with [DEC] and a prompt; see `VisionLanguageModel.embed`."""
        return self._embed_pair(images, "target", self.decoder, ids, mask, key)

    @property
    def stages(self) -> Stages:
        """The image encoder, then the decoder."""
        reader = self.readers["decoder"]
        return [*self.image_stages, reader.run(self.decoder.layers, trimmers_of(self), self.config)]

    def read_out(self, state: State, record: TrimRecord) -> Output:
        """Runs the language head on each token; see `VisionLanguageModel.read_out`."""
        target = state["target"]
        logits = target.pad(self.decoder.logits(target.values))
        return Output({"caption": logits}, state, record)
