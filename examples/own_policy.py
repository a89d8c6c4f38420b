"""Compares a trimming policy of your own to chance, at the same MACs and without training either.

    python examples/own_policy.py

trains a tiny METER on drawn squares at full capacity. Then its image encoder keeps the tokens that are least like the
others, or tokens that are drawn at random, with the dial of either set to the same MACs. It takes a minute and a half
on two cores; nothing is downloaded.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from smarttrim_jax import Functional, HeadConfig, RandomPolicyConfig, Trim, meter_tiny, objectives, trimming
from smarttrim_jax.data import TextEncoder, normalize
from smarttrim_jax.trimming import Decided, Policy, PolicyConfig, RunTrimming, open_gates, register_policy

ANSWERS = ("no", "yes", "red", "green", "blue")
QUESTIONS = ("is it large?", "what color is it?")
COLORS = np.array([[220, 40, 40], [40, 170, 60], [50, 80, 220]], np.uint8)
SIZE, PATCH, LENGTH = 32, 4, 8
STEPS, BATCH = 100, 32
SPEEDUP = 3.0


@dataclasses.dataclass(frozen=True)
class UnusualConfig(PolicyConfig):
    """The settings of the policy, which has none, and what it costs."""

    policy: Literal["unusual"] = "unusual"

    def build(self, side: Any, where: Any, *, rngs: Any) -> "Unusual":
        return Unusual(side.heads)

    def macs(self, gates: Any, entering: Any, side: Any, where: Any) -> Any:
        before = jnp.concatenate([entering[None], gates.tokens[:-1]])[where.first_layer :]  # [layers, rows, tokens]
        return jnp.sum(before, axis=(0, 2)) * side.width  # [rows]: a squared distance for each open token


class Unusual(Policy):
    """Keeps the tokens that are farthest from the mean of all that are open, so many as the dial asks for."""

    def __init__(self, heads: int):
        self.heads = heads

    def __call__(self, tokens: Any, context: Any, trim: Any, *, key: Any = None) -> Decided[Any]:
        values, gate = tokens.pad(tokens.values), tokens.padded_gate[..., None]  # [rows, tokens, width or 1]
        mean = jnp.sum(values * gate, axis=1, keepdims=True) / jnp.sum(gate, axis=1, keepdims=True)
        distance = jnp.sum((values - mean) ** 2 * gate, axis=-1)  # [rows, tokens], 0 for closed ones
        rank = jnp.argsort(jnp.argsort(-distance))
        dial = trim.laid_out(tokens.shape[0], lambda offset: offset[:, None])  # one offset, or one a row
        share = jax.nn.sigmoid(jnp.asarray(dial.offset))  # of the tokens that are no padding
        kept = rank < jnp.round(share * context.present.sum(axis=1, keepdims=True))
        tokens = tokens.close(tokens.look_up(kept.astype(jnp.float32)))
        return Decided(tokens, open_gates(tokens, self.heads))


register_policy("unusual", UnusualConfig)  # and --config.model.trimming.policy=unusual finds it


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures of a square, the number of a question about each, and that of its answer."""
    rng = np.random.default_rng(seed)
    color = rng.integers(len(COLORS), size=count)
    large = rng.integers(2, size=count)
    centers = rng.integers(8, SIZE - 8, size=(count, 2, 1, 1))  # row and column
    reach = np.where(large, 5, 2)[:, None, None]
    inside = np.abs(np.mgrid[:SIZE, :SIZE] - centers).max(axis=1) < reach  # [pictures, height, width]
    pictures = np.where(inside[..., None], COLORS[color, None, None], np.uint8(255))
    question = np.arange(count) % len(QUESTIONS)
    return pictures, question, np.where(question == 0, large, 2 + color)


def trimmed(config: Any, policy: PolicyConfig, params: Any, held_out: Any, test: Any) -> tuple[Any, float]:
    """The output where a policy trims the image encoder, its dial set on held-out examples, and the speed-up."""
    nothing = RunTrimming(tokens=False, heads=False)
    where = {"image": RunTrimming(heads=False), "text": nothing, "cross_modal": nothing}
    model = Functional(dataclasses.replace(config, trimming=trimming.TrimmingConfig(**where, policy=policy)))
    forward = jax.jit(model.apply)  # of the plain model's parameters: neither policy has any

    def measure(offset: float) -> float:
        return float(model.macs_ratio(forward(params, *held_out, trim=Trim(jnp.float32(offset))).record))

    dial = trimming.calibrate(measure, speedups=(SPEEDUP,))
    output = forward(params, *test, trim=Trim(jnp.float32(dial.offset_for(SPEEDUP))))
    return output, float(1 / model.macs_ratio(output.record))


def main() -> None:
    """Trains the plain model, and trims it in two ways."""
    text = TextEncoder.train(QUESTIONS * 2, LENGTH)
    ids, mask = (np.stack(part) for part in zip(*map(text.encode, QUESTIONS), strict=True))  # [questions, tokens]
    config = meter_tiny(SIZE, heads=(HeadConfig("vqa", "classifier", len(ANSWERS)),), trimming=None)
    config = dataclasses.replace(
        config,
        vision=dataclasses.replace(config.vision, patch_size=PATCH),
        text=dataclasses.replace(config.text, vocab_size=text.vocab_size),
        fusion=dataclasses.replace(config.fusion, depth=1),
    )
    plain = Functional(config)
    params = plain.init(jax.random.key(0, impl="rbg"))  # the generator that compiles fastest
    optimizer = optax.adam(1e-3)

    def inputs(count: int, seed: int) -> tuple[Any, ...]:
        pictures, question, labels = draw(count, seed)
        return normalize(pictures, "clip"), ids[question], mask[question], labels

    @jax.jit
    def step(params: Any, state: Any, images: Any, ids: Any, mask: Any, labels: Any) -> Any:
        def loss(params: Any) -> Any:
            logits = plain.apply(params, images, ids, mask).logits["vqa"]
            return objectives.task_loss("softmax", logits, labels).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for number in range(STEPS):
        params, state = step(params, state, *inputs(BATCH, seed=number))

    *held_out, _ = inputs(128, seed=STEPS)
    *test, labels = inputs(128, seed=STEPS + 1)

    def right(output: Any) -> float:
        return float(np.mean(output.logits["vqa"].argmax(axis=1) == labels))

    print(f"full capacity: {right(jax.jit(plain.apply)(params, *test)):.0%} right answers")
    for policy in (UnusualConfig(), RandomPolicyConfig()):
        output, speedup = trimmed(config, policy, params, held_out, test)
        print(f"{policy.policy}: {right(output):.0%} right answers at {speedup:.2f}x fewer MACs")


if __name__ == "__main__":
    main()
