"""Puts trimmers into a vision transformer of your own, trains it, and runs it without what they close.

    python examples/own_model.py

draws pictures of noise with one striped square, and trains a small classifier of them in a plain optax loop: at full
capacity, and trimmed to a third of the work. Then it asks the speed dial for half of the work, and compares packed
execution to the padded reference. It takes a minute on two cores; nothing is downloaded.

The transformer is plain Flax but for one line: attention asks the tokens which of them are open, by `attend`.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from smarttrim_jax import Functional, ModelConfig, Trim, TrimmingConfig, VisionLanguageModel, objectives, trimming
from smarttrim_jax.inference import PackedExecutor
from smarttrim_jax.models import LayerRun, Output, RunSide, stack_policies
from smarttrim_jax.nn import stack
from smarttrim_jax.tokens import as_tokens, attend

COLORS = np.array([[0.9, 0.2, 0.2], [0.2, 0.7, 0.3], [0.2, 0.3, 0.9]])
CLASSES = 2 * len(COLORS)
SIZE, PATCH = 32, 4
PATCHES = (SIZE // PATCH) ** 2
WIDTH, HEADS, MLP, DEPTH = 64, 4, 128, 3
STEPS, BATCH = 120, 32
IMAGE = trimming.GateKey("image", "image")  # the gates that the run "image" decides about the side "image"
SIDE = trimming.SideShape(WIDTH, HEADS)


class Block(nnx.Module):
    """A layer as anyone writes it: what mixes no tokens acts on the last axis, however they lie in memory."""

    def __init__(self, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.query_key_value = nnx.Linear(WIDTH, 3 * WIDTH, rngs=rngs)
        self.out = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.mlp_norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.up = nnx.Linear(WIDTH, MLP, rngs=rngs)
        self.down = nnx.Linear(MLP, WIDTH, rngs=rngs)

    def __call__(self, tokens: Any, head_gate: jax.Array, is_training: bool) -> Any:
        x = tokens.values  # [..., width]
        parts = self.query_key_value(self.norm(x)).reshape(*x.shape[:-1], 3, HEADS, -1)
        # In training, gradients reach the gates.
        mixed = attend(tokens, *jnp.moveaxis(parts, -3, 0), head_gate=head_gate, training=is_training)
        x = x + self.out(mixed.reshape(x.shape))
        return tokens.replace(x + self.down(nnx.gelu(self.up(self.mlp_norm(x)))))


@dataclasses.dataclass(frozen=True)
class StripesConfig(ModelConfig):
    """What the library asks of a model; all but `build` and `macs` is for the commands."""

    trimming: TrimmingConfig = TrimmingConfig(policy=trimming.LearnedPolicyConfig(hidden=16))
    image_size: int = SIZE
    patch_size: int = PATCH
    tasks: ClassVar = {"stripes": "classes"}
    depths: ClassVar = {"image": DEPTH}

    def build(self, *, rngs: nnx.Rngs) -> "Stripes":
        return Stripes(self, rngs=rngs)

    def macs(self, record: Any, *, trimmed: bool = True) -> jax.Array:
        gates = record.gates[IMAGE]
        layers = trimming.layer_macs(gates, trimming.LayerShape(WIDTH, HEADS, MLP))  # [layers, batch]
        total = jnp.sum(layers, axis=0) + PATCHES * 3 * PATCH**2 * WIDTH + WIDTH * CLASSES
        own = self.trimming.policy.macs(gates, record.present[IMAGE], SIDE, self.trimming.image)
        return total + own if trimmed else total


class Stripes(VisionLanguageModel):
    """Patches, layers that trim between them, and a linear head on the class token."""

    def __init__(self, config: StripesConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.patches = nnx.Conv(3, WIDTH, (PATCH, PATCH), strides=PATCH, rngs=rngs)
        self.class_token = nnx.Param(jnp.zeros((1, 1, WIDTH)))
        self.places = nnx.Param(0.02 * jax.random.normal(rngs.params(), (1 + PATCHES, WIDTH)))
        self.layers = stack(Block, DEPTH, rngs)
        self.trimmers = stack_policies(SIDE, DEPTH, config.trimming.image, config.trimming, rngs)
        self.head = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

    def embed(self, images: Any, ids: Any, mask: Any, *, key: Any = None) -> dict[str, Any]:
        patches = self.patches(images).reshape(len(images), PATCHES, WIDTH)
        first = jnp.broadcast_to(self.class_token[...], (len(images), 1, WIDTH))
        return {"image": as_tokens(jnp.concatenate([first, patches], axis=1) + self.places[...])}

    @property
    def stages(self) -> list[LayerRun]:
        def compute(layers: Any, state: Any, gates: Any, key: Any) -> dict[str, Any]:
            return {"image": layers["image"](state["image"], gates[IMAGE].heads, key is not None)}

        run = LayerRun(
            "image",
            (RunSide("image", HEADS),),
            compute,
            layers={"image": self.layers},
            policies={"image": self.trimmers},
            depth=DEPTH,
            first_layer=self.config.trimming.image.first_layer,  # 1: before it, the class token has read nothing
        )
        return [run]

    def read_out(self, state: Any, record: Any) -> Output:
        return Output({"stripes": self.head(state["image"].global_token)}, state, record)


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures, and the number that tells the color of the square and the way of its stripes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=count)
    places = np.mgrid[:SIZE, :SIZE]  # [row and column, height, width]
    centers = rng.integers(7, SIZE - 7, size=(count, 2, 1, 1))
    inside = (np.abs(places - centers) < 6).all(axis=1)  # [pictures, height, width]
    stripes = inside * (places[labels % 2] // 2 % 2)
    noise = 0.3 * rng.normal(size=(count, SIZE, SIZE, 3))
    return (noise + stripes[..., None] * COLORS[labels // 2, None, None]).astype(np.float32), labels


def main() -> None:
    """Trains, measures the dial, packs."""
    model = Functional(StripesConfig())
    params = model.init(jax.random.key(0, impl="rbg"))  # the generator that compiles fastest
    cost = trimming.CostConfig(target_speedup=3.0)
    rates = {"model": optax.adam(1e-3), "trimmers": optax.adam(4e-3)}
    optimizer = optax.multi_transform(rates, {name: name if name in rates else "model" for name in params})

    def loss(params: Any, multiplier: Any, number: Any, images: Any, labels: Any) -> Any:
        key = jax.random.key(number, impl="rbg")
        full = model.apply(params, images, key=key)
        trimmed = model.apply(params, images, trim=Trim(), key=key)  # a key: gates are sampled
        ratio = model.macs_ratio(trimmed.record)
        target = trimming.target_ratio(trimming.CurriculumConfig(), cost.target_speedup, number, STEPS)
        miss = trimming.misses(cost, trimmed.record, ratio, target)
        logits = full.logits["stripes"], trimmed.logits["stripes"]
        terms = (
            *(objectives.task_loss("softmax", each, labels).mean() for each in logits),
            objectives.distillation_loss("softmax", *logits, temperature=2.0).mean(),
            trimming.cost_loss(cost, miss, multiplier),
        )
        return sum(terms), miss

    @jax.jit
    def step(params: Any, state: Any, multiplier: Any, number: Any, images: Any, labels: Any) -> Any:
        gradients, miss = jax.grad(loss, has_aux=True)(params, multiplier, number, images, labels)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, trimming.update_multiplier(cost, multiplier, miss)

    state = optimizer.init(params)
    multiplier = trimming.initial_multiplier(cost)
    for number in range(STEPS):
        params, state, multiplier = step(params, state, multiplier, number, *draw(BATCH, seed=number))

    forward = jax.jit(model.apply)
    held_out, _ = draw(128, seed=STEPS)

    def measure(offset: float) -> float:
        output = forward(params, held_out, trim=Trim(jnp.float32(offset)))
        return float(model.macs_ratio(output.record))

    trim = Trim(jnp.float32(trimming.calibrate(measure, speedups=(2.0,)).offset_for(2.0)))
    images, labels = draw(128, seed=STEPS + 1)
    full = forward(params, images)
    padded = forward(params, images, trim=trim)
    packed = PackedExecutor(model, params)(images, trim=trim)
    right = [np.mean(output.logits["stripes"].argmax(axis=1) == labels) for output in (full, packed)]
    saved = 1 - model.macs_ratio(packed.record)
    difference = np.abs(packed.logits["stripes"] - padded.logits["stripes"]).max()
    print(f"right answers: full {right[0]:.0%}, trimmed {right[1]:.0%}")
    print(f"MACs saved: {saved:.0%}")
    print(f"packed and padded logits differ by {difference:.1e} at most")


if __name__ == "__main__":
    main()
