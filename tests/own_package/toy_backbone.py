"""A backbone of a user's own: two layers in which a text reads one image, and a linear head."""

import dataclasses
from typing import Any, Literal, Self

import jax
import jax.numpy as jnp
from flax import nnx

from smarttrim_jax.models import DatasetSizes, ModelConfig, Output, VisionLanguageModel, register_backbone
from smarttrim_jax.models.base import trimmers_of
from smarttrim_jax.models.layers import existing, policies_of, stack_policies
from smarttrim_jax.models.segments import LayerRun, RunSide, State
from smarttrim_jax.nn.layer_stack import stack
from smarttrim_jax.nn.layers import PostNormLayer
from smarttrim_jax.nn.primitives import Linear
from smarttrim_jax.tokens import Padded
from smarttrim_jax.tokens.padded import first_token_open
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import GateKey, TrimRecord
from smarttrim_jax.trimming.macs import LayerShape, attention_macs, layer_macs, open_tokens
from smarttrim_jax.trimming.policies import LearnedPolicyConfig, RunTrimming, SideShape

TEXT = GateKey("reader", "text")
IMAGE = GateKey("reader", "image")
DEPTH = 2
HEADS = 2
MLP_WIDTH = 32


@dataclasses.dataclass(frozen=True)
class ToyConfig(ModelConfig):
    """Two layers of two heads in which the text reads the image."""

    width: int = 16
    image_size: int = 8
    patch_size: int = 4
    vocab_size: int = 0
    max_text_length: int = 16
    answers: int = 0
    images: int = 1
    trimming: TrimmingConfig | None = TrimmingConfig(policy=LearnedPolicyConfig(hidden=4))
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Literal["auto", "xla"] = "auto"
    scan: bool = False
    remat: Literal["none", "full", "dots"] = "none"
    backbone: Literal["toy"] = "toy"

    @property
    def tasks(self) -> dict[str, str]:
        return {"vqa": "classes"}

    @property
    def depths(self) -> dict[str, int]:
        return {"image": 0, "text": 0, "cross_modal": DEPTH}

    def build(self, *, rngs: nnx.Rngs) -> "Toy":
        return Toy(self, rngs=rngs)

    def sides(self) -> dict[GateKey, tuple[SideShape, RunTrimming]]:
        """The text with the image as its source, and the image, which is only read."""
        where = (self.trimming or TrimmingConfig()).cross_modal
        widths = (self.width,)
        return {
            TEXT: (SideShape(self.width, HEADS, widths), where),
            IMAGE: (SideShape(self.width, 0, widths), where),
        }

    def macs(self, record: TrimRecord, *, trimmed: bool = True) -> jax.Array:
        text = record.gates[TEXT]
        shape = LayerShape(self.width, HEADS, MLP_WIDTH)
        patches = (record.present[IMAGE].sum(-1) - 1) * 3 * self.patch_size**2 * self.width
        reading = attention_macs(
            open_tokens(text), open_tokens(record.gates[IMAGE]), jnp.sum(text.modules["cross_heads"], -1), shape
        )
        total = jnp.sum(layer_macs(text, shape) + reading, axis=0) + patches + self.width * self.answers
        if trimmed and self.trimming is not None:
            for key, (side, where) in self.sides().items():
                total += self.trimming.policy.macs(record.gates[key], record.present[key], side, where)
        return total

    def parameter_group(self, path: str) -> Any:
        return {"trimmers": "trimmer", "head": "head", "layers": "cross_modal"}.get(path.split("/")[0], "backbone")

    def fit_to(self, data: DatasetSizes, task: str) -> Self:
        return dataclasses.replace(self, vocab_size=data.vocab_size, answers=data.answers)

    def text_start(self) -> str:
        return "[READ]"

    def outputs(self, task: str) -> int:
        return self.answers


class Toy(VisionLanguageModel):
    """Patches, words, two layers, a head."""

    def __init__(self, config: ToyConfig, *, rngs: nnx.Rngs):
        self.config = config
        width, dtype = config.width, jnp.dtype(config.dtype)
        places = (config.image_size // config.patch_size) ** 2
        draw = nnx.initializers.normal(0.02)
        self.patches = Linear(3 * config.patch_size**2, width, dtype=dtype, rngs=rngs)
        self.global_patch = nnx.Param(draw(rngs.params(), (1, width)))
        self.places = nnx.Param(draw(rngs.params(), (1 + places, width)))
        self.words = nnx.Embed(config.vocab_size, width, dtype=dtype, rngs=rngs)

        def layer(rngs: nnx.Rngs) -> PostNormLayer:
            return PostNormLayer(
                width,
                HEADS,
                MLP_WIDTH,
                epsilon=1e-6,
                dropout_rate=0.0,
                cross_attention=True,
                dtype=dtype,
                rngs=rngs,
            )

        self.layers = stack(layer, DEPTH, rngs)
        self.head = Linear(width, config.answers, dtype=dtype, rngs=rngs)
        if config.trimming is not None:
            made = {
                key: stack_policies(side, DEPTH, where, config.trimming, rngs)
                for key, (side, where) in config.sides().items()
            }
            self.trimmers = nnx.Dict(existing(made))

    def embed(self, images: Any, ids: Any, mask: Any, *, key: jax.Array | None = None) -> State:
        config = self.config
        batch = images.shape[0]
        side = config.image_size // config.patch_size
        cut = images.reshape(batch, side, config.patch_size, side, config.patch_size, 3)
        patches = self.patches(cut.swapaxes(2, 3).reshape(batch, side * side, -1))
        first = jnp.broadcast_to(self.global_patch[...], (batch, 1, config.width)).astype(patches.dtype)
        image = jnp.concatenate([first, patches], axis=1) + self.places[...].astype(patches.dtype)
        return {
            "image": Padded(image, jnp.ones(image.shape[:2], jnp.float32)),
            "text": Padded(self.words(ids), first_token_open(mask)),
        }

    @property
    def stages(self) -> list[LayerRun]:
        config = self.config
        trimming = config.trimming or TrimmingConfig()
        return [
            LayerRun(
                "reader",
                (RunSide("text", HEADS, ("image",)), RunSide("image", 0, ("text",))),
                read,
                {"text": self.layers},
                policies_of(trimmers_of(self), "reader", ("text", "image")),
                depth=DEPTH,
                first_layer=trimming.cross_modal.first_layer,
                scan=config.scan,
                remat=config.remat,
            )
        ]

    def read_out(self, state: State, record: TrimRecord) -> Output:
        logits = self.head(state["text"].global_token).astype(jnp.float32)
        return Output({"vqa": logits}, state, record)


def read(layers: Any, state: State, gates: Any, key: jax.Array | None) -> State:
    """One layer: the text attends to itself and to the image."""
    gate = gates[TEXT]
    text = layers["text"](
        tokens=state["text"], source=state["image"], head_gate=gate.heads, cross_head_gate=gate.cross_heads, key=key
    )
    return state | {"text": text}


register_backbone("toy", ToyConfig)
