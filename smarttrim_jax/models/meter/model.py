"""METER with trimmers inside (Dou et al. 2022, official code zdou0830/METER; Wang et al. 2024 for the trimming)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.models.base import (
    Output,
    by_name,
    run_stages,
    trimmers_of,
)
from smarttrim_jax.models.heads import Pooler, TaskHead
from smarttrim_jax.models.layers import embed_images, encoder_run, existing, policies_of, stack_policies
from smarttrim_jax.models.meter.config import MeterConfig
from smarttrim_jax.models.meter.macs import sides
from smarttrim_jax.models.pairs import PairReader
from smarttrim_jax.models.segments import (
    LayerRun,
    Prefix,
    Present,
    RunSide,
    Segment,
    Stages,
    State,
)
from smarttrim_jax.nn.inputs import check_same_examples
from smarttrim_jax.nn.layer_stack import stack
from smarttrim_jax.nn.layers import PostNormLayer
from smarttrim_jax.nn.primitives import Linear, split_key
from smarttrim_jax.nn.text import TextTransformer
from smarttrim_jax.nn.vision import VisionTransformer
from smarttrim_jax.tokens import Padded, Tokens
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import GateKey, GatesByKey, Trim, TrimRecord


class Meter(PairReader):
    """Two encoders, lock-step co-attention and task heads, trimmed where `config.trimming` says.

    Args:
        config: Sizes, heads and trimming.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, config: MeterConfig, *, rngs: nnx.Rngs):
        self.config = config
        dtype, fusion = jnp.dtype(config.dtype), config.fusion
        self.image = VisionTransformer(config.vision, dtype=dtype, kernel=config.kernel, rngs=rngs)
        self.text = TextTransformer(config.text, dtype=dtype, kernel=config.kernel, rngs=rngs)
        self.image_transform = Linear(config.vision.width, fusion.width, dtype=dtype, rngs=rngs)
        self.text_transform = Linear(config.text.width, fusion.width, dtype=dtype, rngs=rngs)
        self.type_embedding = nnx.Embed(
            1 + config.images,
            fusion.width,
            embedding_init=nnx.initializers.normal(0.02),
            dtype=dtype,
            rngs=rngs,
        )

        def layer(rngs: nnx.Rngs) -> PostNormLayer:
            return PostNormLayer(
                fusion.width,
                fusion.heads,
                fusion.mlp_width,
                epsilon=fusion.epsilon,
                dropout_rate=fusion.dropout,
                cross_attention=True,
                dtype=dtype,
                kernel=config.kernel,
                rngs=rngs,
            )

        self.fusion_text = stack(layer, fusion.depth, rngs)
        self.fusion_image = stack(layer, fusion.depth, rngs)
        self.text_pooler = Pooler(fusion.width, dtype=dtype, rngs=rngs)
        self.image_pooler = Pooler(fusion.width, dtype=dtype, rngs=rngs)
        self.head = nnx.Dict(
            {
                head.name: TaskHead(head, fusion.width, config.images, fusion.epsilon, dtype=dtype, rngs=rngs)
                for head in config.heads
            }
        )
        if config.trimming is not None:
            self.trimmers = nnx.Dict(make_policies(config, config.trimming, rngs))

    def embed(self, images: Array, ids: Array, mask: Array, *, key: jax.Array | None = None) -> State:
        """Embeds images and texts; each image is a row of its own. See `VisionLanguageModel.embed`."""
        check_same_examples("examples of images", images.shape[0], "texts", ids.shape[0])
        if not self.config.share_text:
            ids, mask = (jnp.repeat(part, self.config.images, axis=0) for part in (ids, mask))
        return {
            "image": self.embed_images(images),
            "text": self.text.embed(ids, mask, key=key),
        }

    def embed_images(self, images: Float[Array, "batch *images height width 3"]) -> Padded:
        """Embeds images; each is a row of its own. See `PairReader.embed_images`."""
        return embed_images(self.image, images, self.config.images)

    @property
    def image_stages(self) -> Stages:
        """The image encoder."""
        trimming = self.config.trimming or TrimmingConfig()
        return [encoder_run("image", self.image, trimmers_of(self), trimming.image, **self._switches)]

    @property
    def pair_stages(self) -> Stages:
        """The text encoder, the projection to the fusion's width, and the fusion."""
        config = self.config
        trimming = config.trimming or TrimmingConfig()
        trimmers = trimmers_of(self)
        heads = config.fusion.heads
        switches = self._switches
        return [
            encoder_run("text", self.text, trimmers, trimming.text, **switches),
            Segment("join", self.join, self.join_present),
            LayerRun(
                "fusion",
                (RunSide("text", heads, ("image",)), RunSide("image", heads, ("text",))),
                fusion_layer,
                {"text": self.fusion_text, "image": self.fusion_image},
                policies_of(trimmers, "fusion", ("text", "image")),
                depth=config.fusion.depth,
                first_layer=trimming.cross_modal.first_layer,
                **switches,
            ),
        ]

    def join(self, state: State) -> State:
        """Projects both sides to the fusion's width, adds token types, and repeats the text for each image.

        Args:
            state: Sides "image" and "text" after the encoders.

        Returns:
            Both sides, with one row per image each.
        """
        image, text, images = state["image"], state["text"], self.config.images
        text = text.repeat(self._text_copies)
        kinds = self.type_embedding(jnp.arange(1 + images))
        rows = image.global_token.shape[0]
        image_kind = image.spread(jnp.tile(kinds[1:], (rows // images, 1)))
        image_values = self.image_transform(self.image.last_norm(image.values)) + image_kind
        return {
            "image": image.replace(image_values),
            "text": text.replace(self.text_transform(text.values) + kinds[0]),
        }

    def join_present(self, present: Present) -> Present:
        """Updates `ExampleInfo.present` for `join`, which repeats the text for each image.

        Args:
            present: For each side, `[rows, tokens]`, 1 for tokens that are no padding.

        Returns:
            The same for one row per image on both sides.
        """
        return present | {"text": jnp.repeat(present["text"], self._text_copies, axis=0)}

    def read_out(self, state: State, record: TrimRecord) -> Output:
        """Runs poolers and heads on the fused state; see `VisionLanguageModel.read_out`."""
        text = state["text"]
        image = state["image"]
        pooled = [self.text_pooler(text.global_token), self.image_pooler(image.global_token)]
        examples = image.global_token.shape[0] // self.config.images
        joint = jnp.concatenate(pooled, axis=-1).reshape(examples, -1)  # [batch, images * 2 * width]
        logits = {name: head(joint, text.pad(text.values)) for name, head in by_name(self.head).items()}
        return Output(logits, state, record, joint)

    def finish_images(
        self, prefix: Prefix, *, trim: Trim | None = None, key: jax.Array | None = None
    ) -> tuple[Tokens, TrimRecord]:
        """Encodes images alone, so that many texts can be matched with each.

        Args:
            prefix: Result of `image_prefix`.
            trim: How the trimmers decide; None runs at full capacity.
            key: The key that `image_prefix` was called with; None for evaluation.

        Returns:
            The tokens after the image encoder, a row for each image, and its gates.

        Raises:
            ConfigError: `trim` is given to a model without trimmers.
        """
        state, record = run_stages(self, self.image_stages, prefix, trim, key)
        return state["image"], record

    @property
    def _switches(self) -> dict[str, Any]:
        """How all runs of layers are compiled."""
        return {"scan": self.config.scan, "remat": self.config.remat}

    @property
    def _text_copies(self) -> int:
        """The number of images that each encoded text is repeated for."""
        return self.config.images if self.config.share_text else 1


def make_policies(config: MeterConfig, trimming: TrimmingConfig, rngs: nnx.Rngs) -> dict[str, nnx.Module]:
    """Builds the stacked policies of all runs that trim anything.

    Args:
        config: Configuration of the model.
        trimming: What is trimmed, and by which policy.
        rngs: Random numbers of the initial weights.

    Returns:
        The policies by the name of their gates.
    """
    return existing(
        {
            key: stack_policies(side.shape, side.depth, side.where, trimming, rngs)
            for key, side in sides(config).items()
        }
    )


def fusion_layer(layers: dict[str, PostNormLayer], state: State, gates: GatesByKey, key: jax.Array | None) -> State:
    """Computes one layer of both sides in lock-step; each side reads the other's state before the layer.

    Args:
        layers: The layer of each side.
        state: Sides "text" and "image" after the layer's decisions.
        gates: The layer's gates.
        key: Random key of the dropout; None for evaluation.

    Returns:
        Both sides after the layer.
    """
    keys = split_key(key, 2)

    def compute(side: str, source: str, key: jax.Array | None) -> Any:
        gate = gates[GateKey("fusion", side)]
        return layers[side](
            tokens=state[side],
            source=state[source],
            head_gate=gate.heads,
            cross_head_gate=gate.cross_heads,
            key=key,
        )

    return {"text": compute("text", "image", keys[0]), "image": compute("image", "text", keys[1])}
