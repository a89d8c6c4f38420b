"""BLIP that describes an image: a decoder reads it."""

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
    """A call reads captions word by word (teacher forcing).

    It returns `logits["caption"]`, `[batch, tokens, words]`, of the word behind each token. What trimmers decide
    depends on the image and the first token alone, so that a caption yet to be written meets the same decisions.
    """

    def __init__(self, config: BlipConfig, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        self.decoder = TextDecoder(config, config.vision.width, rngs=rngs)

    def embed(self, images: Array, ids: Array, mask: Array, *, key: jax.Array | None = None) -> State:
        """The image and its caption, which begins with [DEC] and the prompt."""
        return self._embed_pair(images, "target", self.decoder, ids, mask, key)

    @property
    def stages(self) -> Stages:
        """The image encoder, then the decoder."""
        reader = self.readers["decoder"]
        return [*self.image_stages, reader.run(self.decoder.layers, trimmers_of(self), self.config)]

    def read_out(self, state: State, record: TrimRecord) -> Output:
        """Runs the language head on every token; see `VisionLanguageModel.read_out`."""
        target = state["target"]
        logits = target.pad(self.decoder.logits(target.values))
        return Output({"caption": logits}, state, record)
