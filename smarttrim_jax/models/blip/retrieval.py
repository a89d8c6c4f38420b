"""BLIP that finds images for texts and texts for images: features to compare, and a judge of pairs."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from smarttrim_jax.models.base import Output, example_seeds, run_stages, trimmers_of
from smarttrim_jax.models.blip.config import BlipConfig
from smarttrim_jax.models.blip.model import Blip
from smarttrim_jax.models.layers import encoder_run
from smarttrim_jax.models.segments import LayerRun, Prefix, Stages, State, begin, fold_prefix
from smarttrim_jax.nn.inputs import check_same_examples
from smarttrim_jax.nn.primitives import Linear, split_key
from smarttrim_jax.nn.text import TextTransformer
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import Trim, TrimRecord


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Encoded:
    """Images or texts on their own.

    Attributes:
        features: float32, of length 1; an image's and a text's are compared by their product.
        tokens: after the last layer.
        record: every gate.
    """

    features: Float[Array, "batch features"]
    tokens: Tokens
    record: TrimRecord


class BlipRetrieval(Blip):
    """A call judges pairs and returns `logits["itm"]`, `[batch, 2]`: no match, match."""

    def __init__(self, config: BlipConfig, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        text, dtype = config.text, jnp.dtype(config.dtype)
        self.text = TextTransformer(
            text, source_width=config.vision.width, dtype=dtype, kernel=config.attention, rngs=rngs
        )
        self.image_projection = Linear(config.vision.width, config.features, dtype=dtype, rngs=rngs)
        self.text_projection = Linear(text.width, config.features, dtype=dtype, rngs=rngs)
        self.match_head = Linear(text.width, 2, dtype=dtype, rngs=rngs)
        self.temperature = nnx.Param(jnp.float32(0.07))

    def embed(self, images: Array, ids: Array, mask: Array, *, key: jax.Array | None = None) -> State:
        """The images and texts of pairs; a text begins with [ENC]."""
        return self._embed_pair(images, "text", self.text, ids, mask, key)

    @property
    def stages(self) -> Stages:
        """The image encoder, then the text's, which reads the image in every layer."""
        return [*self.image_stages, self._fusion]

    def read_out(self, state: State, record: TrimRecord) -> Output:
        """Judges the text's global token; see `VisionLanguageModel.read_out`."""
        logits = self.match_head(state["text"].global_token).astype(jnp.float32)
        return Output({"itm": logits}, state, record)

    def encode_images(
        self, images: Float[Array, "batch height width 3"], *, trim: Trim | None = None, key: jax.Array | None = None
    ) -> Encoded:
        """Images on their own; arguments as in a call."""
        return self.finish_images(prefix=self.image_prefix(images, key=key), trim=trim, key=key)

    def image_prefix(self, images: Float[Array, "batch height width 3"], *, key: jax.Array | None = None) -> Prefix:
        """The first part of `encode_images`, the same whether it trims or not."""
        return fold_prefix(
            self.image_stages,
            begin({"image": self.embed_images(images)}, seed=example_seeds(self.config, images)),
            key,
        )

    def finish_images(self, prefix: Prefix, *, trim: Trim | None = None, key: jax.Array | None = None) -> Encoded:
        """The other part of `encode_images`."""
        state, record = run_stages(self, self.image_stages, prefix, trim, key)
        image = state["image"]
        return Encoded(self.image_features(image), image, record)

    def image_features(self, image: Tokens) -> Float[Array, "batch features"]:
        """The vectors of encoded images, float32, of length 1; texts may have read them since."""
        return _normalised(self.image_projection(image.global_token))

    def encode_texts(
        self,
        ids: Int[Array, "batch tokens"],
        mask: Int[Array, "batch tokens"],
        *,
        trim: Trim | None = None,
        key: jax.Array | None = None,
    ) -> Encoded:
        """Texts on their own, which begin with [CLS]; the encoder's layers without their cross-attention."""
        return self.finish_texts(prefix=self.text_prefix(ids, mask, key=key), trim=trim, key=key)

    def text_prefix(
        self, ids: Int[Array, "batch tokens"], mask: Int[Array, "batch tokens"], *, key: jax.Array | None = None
    ) -> Prefix:
        """The first part of `encode_texts`, the same whether it trims or not."""
        keys = split_key(key, 2)
        return fold_prefix(
            [self._text_alone],
            begin(
                {"text": self.text.embed(ids, mask, key=keys[0])}, seed=example_seeds(self.config, ids=ids, mask=mask)
            ),
            keys[1],
        )

    def finish_texts(self, prefix: Prefix, *, trim: Trim | None = None, key: jax.Array | None = None) -> Encoded:
        """The other part of `encode_texts`."""
        state, record = run_stages(self, [self._text_alone], prefix, trim, split_key(key, 2)[1])
        text = state["text"]
        features = _normalised(self.text_projection(text.global_token))
        return Encoded(features, text, record)

    def match(
        self,
        image: Tokens,
        ids: Int[Array, "batch tokens"],
        mask: Int[Array, "batch tokens"],
        *,
        trim: Trim | None = None,
        key: jax.Array | None = None,
    ) -> Output:
        """Judges pairs of encoded images (`Encoded.tokens`, or some of them by `take`) and texts.

        Its record is that of the text's layers alone; beside that of `encode_images` it is the call's.
        """
        check_same_examples("encoded images", image.shape[0], "texts", ids.shape[0])
        keys = split_key(key, 2)
        state = {"image": image, "text": self.text.embed(ids, mask, key=keys[0])}
        seed = example_seeds(self.config, ids=ids, mask=mask)
        prefix = begin(state, present={"image": jnp.ones_like(image.padded_gate)}, seed=seed)
        state, record = run_stages(self, [self._fusion], prefix, trim, keys[1])
        return self.read_out(state=state, record=record)

    @property
    def _fusion(self) -> LayerRun:
        return self.readers["fusion"].run(self.text.layers, trimmers_of(self), self.config)

    @property
    def _text_alone(self) -> LayerRun:
        config = self.config
        return encoder_run(
            "text",
            self.text,
            trimmers_of(self),
            (config.trimming or TrimmingConfig()).text,
            scan=config.scan,
            remat=config.remat,
        )


def _normalised(vectors: Float[Array, "batch features"]) -> Float[Array, "batch features"]:
    """Each of length 1, in float32; torch's `normalize` with its smallest length of 1e-12."""
    vectors = vectors.astype(jnp.float32)
    # The root of a sum that is never zero: at zero its gradient is not a number.
    return vectors * jax.lax.rsqrt(jnp.maximum(jnp.sum(vectors**2, axis=-1, keepdims=True), 1e-24))
