"""METER with trimmers inside (Dou et al. 2022, official code zdou0830/METER; Wang et al. 2024 for the trimming)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.models.heads import Pooler, TaskHead
from smarttrim_jax.models.layers import by_name, embed_images, encoder_run
from smarttrim_jax.models.meter.config import MeterConfig
from smarttrim_jax.models.meter.layers import fusion_decide, fusion_layer, make_trimmers
from smarttrim_jax.models.output import Output
from smarttrim_jax.models.segments import GatesByRun, Prefix, Run, Segment, State, fold_prefix, fold_stages
from smarttrim_jax.nn.folding import stack
from smarttrim_jax.nn.inputs import check_same_examples
from smarttrim_jax.nn.layers import PostNormLayer
from smarttrim_jax.nn.linear import Linear
from smarttrim_jax.nn.regularization import split_key
from smarttrim_jax.nn.text import TextTransformer
from smarttrim_jax.nn.vision import VisionTransformer
from smarttrim_jax.trimming.gates import Trim, TrimRecord
from smarttrim_jax.trimming.trimmers import TrimmingConfig


class Meter(nnx.Module):
    """Two encoders, co-attention in lock-step, a head; trimmed wherever `config.trimming` says.

    Args:
        config: sizes, heads and trimming.
        rngs: for the initial weights.
    """

    def __init__(self, config: MeterConfig, *, rngs: nnx.Rngs):
        self.config = config
        dtype, fusion = jnp.dtype(config.dtype), config.fusion
        self.image = VisionTransformer(config.vision, dtype=dtype, kernel=config.attention, rngs=rngs)
        self.text = TextTransformer(config.text, dtype=dtype, kernel=config.attention, rngs=rngs)
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
                kernel=config.attention,
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
            self.trimmers = nnx.Dict(make_trimmers(config, config.trimming, rngs))

    def __call__(
        self,
        images: Float[Array, "batch *images height width 3"],
        ids: Int[Array, "batch tokens"],
        mask: Int[Array, "batch tokens"],
        *,
        trim: Trim | None = None,
        key: jax.Array | None = None,
    ) -> Output:
        """One pass.

        Args:
            images: normalised, `[batch, height, width, 3]` or `[batch, images, height, width, 3]`.
            ids: of the text's tokens.
            mask: 1 for tokens, 0 for padding.
            trim: how the trimmers decide; None runs at full capacity.
            key: training (dropout and sampled gates) with these random numbers; None for evaluation.

        Raises:
            ConfigError: trimming a model without trimmers, offsets for another number of examples, another number of
                images, a text that is too long.
        """
        if trim is not None:
            trim.check(ids.shape[0])
        return self.finish(prefix=self.prefix(images, ids, mask, key=key), trim=trim, key=key)

    def prefix(self, images: Array, ids: Array, mask: Array, *, key: jax.Array | None = None) -> Prefix:
        """The first part of a call, the same whether it trims or not; arguments as in a call."""
        keys = split_key(key, 2)
        return fold_prefix(self.stages, self.embed(images, ids, mask, key=keys[0]), keys[1])

    def finish(self, prefix: Prefix, *, trim: Trim | None = None, key: jax.Array | None = None) -> Output:
        """The other part of a call; arguments as in a call.

        Raises:
            ConfigError: trimming a model without trimmers.
        """
        if trim is not None and self.config.trimming is None:
            raise ConfigError("this model has no trimmers; set `trimming` in its MeterConfig")
        present = {name: tokens.padded_gate for name, tokens in prefix.state.items()}
        state, gates = fold_stages(self.stages, prefix.state, trim, split_key(key, 2)[1], done=prefix.gates)
        return self.read_out(state, gates, present)

    def embed(self, images: Array, ids: Array, mask: Array, *, key: jax.Array | None = None) -> State:
        """Both encoders' first tokens; each image is a row of its own.

        Raises:
            ConfigError: inputs of other shapes, or not one text for each example's images.
            DataError: numbers that are no normalised pixels, token ids or mask.
        """
        check_same_examples("examples of images", images.shape[0], "texts", ids.shape[0])
        if not self.config.share_text:
            ids, mask = (jnp.repeat(part, self.config.images, axis=0) for part in (ids, mask))
        return {
            "image": embed_images(self.image, images, self.config.images),
            "text": self.text.embed(ids, mask, key=key),
        }

    @property
    def stages(self) -> list[Segment | Run]:
        """What runs between the embeddings and the heads, in order.

        No method: `nnx.tabulate` runs every public method under `jit`, which returns nothing but arrays.
        """
        config, trimming = self.config, self.config.trimming or TrimmingConfig()
        trimmers = by_name(self.trimmers) if config.trimming is not None else {}
        fusion = {"fusion_text": self.fusion_text, "fusion_image": self.fusion_image}
        guides = {side: trimmers[side] for side in fusion if side in trimmers}
        switches: dict[str, Any] = {"scan": config.scan, "remat": config.remat}
        return [
            encoder_run("image", self.image, trimmers.get("image"), trimming.image, **switches),
            encoder_run("text", self.text, trimmers.get("text"), trimming.text, **switches),
            Segment("join", self.join),
            Run(
                "fusion",
                ("image", "text"),
                functools.partial(fusion_decide, config.fusion.heads),
                fusion_layer,
                fusion,
                guides or None,
                depth=config.fusion.depth,
                first_layer=trimming.cross_modal.first_layer,
                **switches,
            ),
        ]

    def join(self, state: State) -> State:
        """Both sides at the fusion's width with their token types; the text once per image."""
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

    def read_out(self, state: State, gates: GatesByRun, present: dict[str, Array]) -> Output:
        """Poolers and heads on the fused state.

        Args:
            state: after the last stage.
            gates: of every run.
            present: `[batch, tokens]` of "image" and "text" before the first layer.
        """
        image, text, images = state["image"], state["text"], self.config.images
        pooled = [self.text_pooler(text.global_token), self.image_pooler(image.global_token)]
        joint = jnp.concatenate(pooled, axis=-1).reshape(image.global_token.shape[0] // images, -1)
        logits = {name: head(joint, text.pad(text.values)) for name, head in by_name(self.head).items()}
        fused_text = jnp.repeat(present["text"], self._text_copies, axis=0)
        by_run = present | {"fusion_image": present["image"], "fusion_text": fused_text}
        return Output(logits, state, TrimRecord(gates, by_run), joint)

    @property
    def _text_copies(self) -> int:
        """How many images each encoded text meets in the fusion."""
        return self.config.images if self.config.share_text else 1
