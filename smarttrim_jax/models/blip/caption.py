"""BLIP that describes an image: a decoder reads it."""

import jax
from flax import nnx
from jaxtyping import Array

from smarttrim_jax.models.blip.config import BlipConfig
from smarttrim_jax.models.blip.model import Blip, make_record
from smarttrim_jax.models.blip.text import TextDecoder
from smarttrim_jax.models.output import Output
from smarttrim_jax.models.segments import GatesByRun, Run, Segment, State


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
    def stages(self) -> list[Segment | Run]:
        """The image encoder, then the decoder."""
        reader = self.readers["decoder"]
        return [*self.image_stages, reader.run(self.decoder.layers, self.all_trimmers, self.config)]

    def read_out(self, state: State, gates: GatesByRun, present: dict[str, Array]) -> Output:
        """The language head on every token."""
        target = state["target"]
        logits = target.pad(self.decoder.logits(target.values))
        return Output({"caption": logits}, state, make_record(gates, present))
