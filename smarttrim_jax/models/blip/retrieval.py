"""BLIP for retrieval of images by texts and texts by images: features to compare, and a judge of pairs."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from smarttrim_jax.models.base import Output, example_seeds, run_stages, trimmers_of
from smarttrim_jax.models.blip.config import BlipConfig
from smarttrim_jax.models.blip.model import Blip
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.models.layers import encoder_run
from smarttrim_jax.models.pairs import PairReader
from smarttrim_jax.models.segments import LayerRun, Prefix, Stages, State, begin, fold_prefix, fold_stages
from smarttrim_jax.nn.primitives import Linear, split_key
from smarttrim_jax.nn.text import TextTransformer
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import Trim, TrimRecord


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Encoded:
    """Images or texts, encoded on their own.

    Attributes:
        features: `[batch, features]`, float32, of length 1; an image and a text are compared by their inner product.
        tokens: The tokens after the last layer.
        record: All gates.
    """

    features: Float[Array, "batch features"]
    tokens: Tokens
    record: TrimRecord


class BlipRetrieval(Blip, PairReader):
    """Retrieval; a call judges pairs and returns `logits["itm"]`, `[batch, 2]`: no match, match.

    Args:
        config: Sizes, task and trimming.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, config: BlipConfig, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        text, dtype = config.text, jnp.dtype(config.dtype)
        self.text = TextTransformer(
            text, source_width=config.vision.width, dtype=dtype, kernel=config.kernel, rngs=rngs
        )
        self.image_projection = Linear(config.vision.width, config.features, dtype=dtype, rngs=rngs)
        self.text_projection = Linear(text.width, config.features, dtype=dtype, rngs=rngs)
        self.match_head = Linear(text.width, 2, dtype=dtype, rngs=rngs)
        self.temperature = nnx.Param(jnp.float32(0.07))

    def embed(self, images: Array, ids: Array, mask: Array, *, key: jax.Array | None = None) -> State:
        """Embeds pairs of an image and a text, which begins with [ENC]; see `VisionLanguageModel.embed`."""
        return self._embed_pair(images, "text", self.text, ids, mask, key)

    @property
    def pair_stages(self) -> Stages:
        """The text encoder, which reads the image in each layer."""
        return [self.readers["fusion"].run(self.text.layers, trimmers_of(self), self.config)]

    def read_out(self, state: State, record: TrimRecord) -> Output:
        """Judges pairs by the text's global token; see `VisionLanguageModel.read_out`."""
        logits = self.match_head(state["text"].global_token).astype(jnp.float32)
        return Output({"itm": logits}, state, record)

    def encode_images(
        self,
        images: Float[Array, "batch *images height width 3"],
        *,
        trim: Trim | None = None,
        key: jax.Array | None = None,
    ) -> Encoded:
        """Encodes images on their own.

        Args:
            images: Normalised images, `[batch, height, width, 3]`.
            trim: How the trimmers decide; None runs at full capacity.
            key: Random key of training; None for evaluation.

        Returns:
            Features, tokens and gates of the images.

        Raises:
            ConfigError: `trim` is given to a model without trimmers, or images have another shape.
            DataError: Images hold integers.
        """
        return self.finish_images(prefix=self.image_prefix(images, key=key), trim=trim, key=key)

    def finish_images(self, prefix: Prefix, *, trim: Trim | None = None, key: jax.Array | None = None) -> Encoded:
        """Runs the rest of `encode_images` after its shared prefix.

        Args:
            prefix: Result of `image_prefix`.
            trim: How the trimmers decide; None runs at full capacity.
            key: The key that `image_prefix` was called with; None for evaluation.

        Returns:
            Features, tokens and gates of the images.

        Raises:
            ConfigError: `trim` is given to a model without trimmers.
        """
        state, record = run_stages(self, self.image_stages, prefix, trim, key)
        image = state["image"]
        return Encoded(self.image_features(image), image, record)

    def image_features(self, image: Tokens) -> Float[Array, "batch features"]:
        """Computes the features of encoded images.

        Args:
            image: Image tokens after the encoder's last norm; texts may have read them since.

        Returns:
            `[batch, features]`, float32, of length 1.
        """
        return _normalised(self.image_projection(image.global_token))

    def encode_texts(
        self,
        ids: Int[Array, "batch tokens"],
        mask: Int[Array, "batch tokens"],
        *,
        trim: Trim | None = None,
        key: jax.Array | None = None,
    ) -> Encoded:
        """Encodes texts on their own, by the encoder's layers without their cross-attention.

        Args:
            ids: Token ids, `[batch, tokens]`; each text begins with [CLS].
            mask: 1 for tokens, 0 for padding, `[batch, tokens]`.
            trim: How the trimmers decide; None runs at full capacity.
            key: Random key of training; None for evaluation.

        Returns:
            Features, tokens and gates of the texts.

        Raises:
            ConfigError: `trim` is given to a model without trimmers, or a text is too long.
            DataError: Ids or mask hold values that cannot be used.
        """
        return self.finish_texts(prefix=self.text_prefix(ids, mask, key=key), trim=trim, key=key)

    def text_prefix(
        self, ids: Int[Array, "batch tokens"], mask: Int[Array, "batch tokens"], *, key: jax.Array | None = None
    ) -> Prefix:
        """Runs the first part of `encode_texts`, which is the same whether it trims or not.

        Args:
            ids: Token ids, `[batch, tokens]`; each text begins with [CLS].
            mask: 1 for tokens, 0 for padding, `[batch, tokens]`.
            key: Random key of training; None for evaluation.

        Returns:
            The state from which `finish_texts` continues.
        """
        keys = split_key(key, 2)
        return fold_prefix(
            [self._text_alone],
            begin(
                {"text": self.text.embed(ids, mask, key=keys[0])}, seed=example_seeds(self.config, ids=ids, mask=mask)
            ),
            keys[1],
        )

    def finish_texts(self, prefix: Prefix, *, trim: Trim | None = None, key: jax.Array | None = None) -> Encoded:
        """Runs the rest of `encode_texts` after its shared prefix.

        Args:
            prefix: Result of `text_prefix`.
            trim: How the trimmers decide; None runs at full capacity.
            key: The key that `text_prefix` was called with; None for evaluation.

        Returns:
            Features, tokens and gates of the texts.

        Raises:
            ConfigError: `trim` is given to a model without trimmers.
        """
        state, record = run_stages(self, [self._text_alone], prefix, trim, split_key(key, 2)[1])
        text = state["text"]
        features = _normalised(self.text_projection(text.global_token))
        return Encoded(features, text, record)

    @property
    def _text_alone(self) -> LayerRun:
        """The text encoder's layers without cross-attention, as a stage."""
        config = self.config
        return encoder_run(
            "text",
            self.text,
            trimmers_of(self),
            (config.trimming or TrimmingConfig()).text,
            scan=config.scan,
            remat=config.remat,
        )


class ImagesAlone:
    """The image encoder of a retrieval model, in the form in which executions run a whole model.

    Args:
        model: The retrieval model.
    """

    def __init__(self, model: BlipRetrieval):
        self._model = model

    @property
    def stages(self) -> Stages:
        """The stages of the image encoder."""
        return self._model.image_stages

    def start(self, images: Float[Array, "batch *images height width 3"], ids: None, mask: None) -> Prefix:
        """Embeds images, before any stage.

        Args:
            images: Normalised images, `[batch, height, width, 3]`.
            ids: None, since no text is read.
            mask: None.

        Returns:
            The state before the first stage.
        """
        return self._model.start_images(images)

    def read_out(self, state: State, record: TrimRecord) -> Output:
        """Computes the features of the images.

        Args:
            state: The image tokens after the last stage.
            record: All gates.

        Returns:
            `logits["features"]`, `[batch, features]`, float32, of length 1, as `BlipRetrieval.encode_images` gives
            them; the image tokens and the record.
        """
        return Output({"features": self._model.image_features(state["image"])}, state, record)

    def __call__(
        self,
        images: Float[Array, "batch *images height width 3"],
        ids: None = None,
        mask: None = None,
        *,
        trim: Trim | None = None,
    ) -> Output:
        """Encodes images, padded.

        Args:
            images: Normalised images, `[batch, height, width, 3]`.
            ids: None, since no text is read.
            mask: None.
            trim: How the trimmers decide; None runs at full capacity.

        Returns:
            The result of `read_out`.
        """
        return self.read_out(*fold_stages(self.stages, self.start(images, ids, mask), trim, None))


class ImageEncoder(Functional):
    """The image encoder of a retrieval model as functions of the whole model's parameters."""

    def bind(self, params: Params) -> ImagesAlone:
        """Builds the encoder with given parameters.

        Args:
            params: Parameters of the whole model.

        Returns:
            The encoder.
        """
        return ImagesAlone(super().bind(params))


def _normalised(vectors: Float[Array, "batch features"]) -> Float[Array, "batch features"]:
    """Scales vectors to length 1 in float32, like torch's `normalize` with its smallest length of 1e-12."""
    vectors = vectors.astype(jnp.float32)
    # The maximum is inside the root, because the root's gradient at zero is not finite.
    return vectors * jax.lax.rsqrt(jnp.maximum(jnp.sum(vectors**2, axis=-1, keepdims=True), 1e-24))
