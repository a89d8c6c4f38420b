"""Trim-tunes the METER of a weight file in a plain optax loop, saves it as a folder, and asks that two questions.

    python examples/own_loop.py FOLDER

writes FOLDER/meter.safetensors in the official code's layout, a tiny METER of random weights in place of a download,
reads it back with trimmers inside, and tunes it on drawn squares to two thirds of the work. FOLDER/model then answers
on any machine. It takes two minutes on two cores, most of them compilation.

With an official file and its tokenizer in the place of what `write_file` and `TextEncoder.train` make, the loop stays
as it is.
"""

import dataclasses
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from smarttrim_jax import Functional, HeadConfig, TrainedModel, Trim, load_model, meter_tiny, objectives, trimming
from smarttrim_jax.data import TextEncoder, normalize
from smarttrim_jax.pretrained import read_official, write_official

ANSWERS = ("no", "yes", "red", "green", "blue")
QUESTIONS = ("is it large?", "what color is it?")
COLORS = np.array([[220, 40, 40], [40, 170, 60], [50, 80, 220]], np.uint8)
SIZE, LENGTH = 32, 12
STEPS, BATCH = 100, 32
SPEEDUP = 1.5


def write_file(path: pathlib.Path, text: TextEncoder) -> None:
    """Writes a METER under the official names; every size can be read off it again."""
    config = meter_tiny(SIZE, heads=(HeadConfig("vqa", "classifier", len(ANSWERS)),), trimming=None)
    config = dataclasses.replace(
        config,
        text=dataclasses.replace(config.text, vocab_size=text.vocab_size),
        fusion=dataclasses.replace(config.fusion, depth=1),
    )
    write_official(path, config, Functional(config).init(jax.random.key(0, impl="rbg")))


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures of a square, the number of a question about each, and that of its answer."""
    rng = np.random.default_rng(seed)
    color = rng.integers(len(COLORS), size=count)
    large = rng.integers(2, size=count)
    centers = rng.integers(10, SIZE - 10, size=(count, 2, 1, 1))  # row and column
    reach = np.where(large, 10, 5)[:, None, None]
    inside = np.abs(np.mgrid[:SIZE, :SIZE] - centers).max(axis=1) < reach  # [pictures, height, width]
    pictures = np.where(inside[..., None], COLORS[color, None, None], np.uint8(255))
    question = np.arange(count) % len(QUESTIONS)
    return pictures, question, np.where(question == 0, large, 2 + color)


def main() -> None:
    """Writes, reads, tunes, measures the dial, saves, asks."""
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    text = TextEncoder.train(QUESTIONS * 2, LENGTH)
    text.save(folder / "tokenizer.json")
    write_file(folder / "meter.safetensors", text)

    trimmers = trimming.TrimmingConfig(policy=trimming.LearnedPolicyConfig(hidden=32))
    config, params = read_official(folder / "meter.safetensors", trimming=trimmers)
    model = Functional(config)
    ids, mask = (np.stack(part) for part in zip(*map(text.encode, QUESTIONS), strict=True))  # [questions, tokens]

    def inputs(count: int, seed: int) -> tuple[Any, ...]:
        pictures, question, labels = draw(count, seed)
        return normalize(pictures, "clip"), ids[question], mask[question], labels

    cost = trimming.CostConfig(target_speedup=SPEEDUP)
    rates = {"model": optax.adam(1e-3), "trimmers": optax.adam(4e-3)}
    optimizer = optax.multi_transform(rates, {name: name if name in rates else "model" for name in params})

    def loss(params: Any, multiplier: Any, number: Any, images: Any, ids: Any, mask: Any, labels: Any) -> Any:
        key = jax.random.key(number, impl="rbg")  # the generator that compiles fastest
        prefix = model.apply(params, images, ids, mask, key=key, method="prefix")  # what both passes share
        full = model.apply(params, prefix, key=key, method="finish")
        trimmed = model.apply(params, prefix, trim=Trim(), key=key, method="finish")  # a key: gates are sampled
        ratio = model.macs_ratio(trimmed.record)
        target = trimming.target_ratio(trimming.CurriculumConfig(), SPEEDUP, number, STEPS)
        miss = trimming.misses(cost, trimmed.record, ratio, target)
        logits = full.logits["vqa"], trimmed.logits["vqa"]
        terms = (
            *(objectives.task_loss("softmax", each, labels).mean() for each in logits),
            objectives.distillation_loss("softmax", *logits, temperature=2.0).mean(),
            trimming.cost_loss(cost, miss, multiplier),
        )
        return sum(terms), miss

    @jax.jit
    def step(params: Any, state: Any, multiplier: Any, number: Any, *batch: Any) -> Any:
        gradients, miss = jax.grad(loss, has_aux=True)(params, multiplier, number, *batch)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, trimming.update_multiplier(cost, multiplier, miss)

    state = optimizer.init(params)
    multiplier = trimming.initial_multiplier(cost)
    for number in range(STEPS):
        params, state, multiplier = step(params, state, multiplier, number, *inputs(BATCH, seed=number))

    forward = jax.jit(model.apply)
    *held_out, labels = inputs(128, seed=STEPS)

    def measure(offset: float) -> float:
        output = forward(params, *held_out, trim=Trim(jnp.float32(offset)))
        return float(model.macs_ratio(output.record))

    dial = trimming.calibrate(measure, speedups=(1.25, SPEEDUP))
    TrainedModel.from_params(
        config,
        params,
        tokenizer=folder / "tokenizer.json",
        answers=ANSWERS,
        text_length=LENGTH,
        dial=dial,
        target_speedup=SPEEDUP,
    ).save(folder / "model")

    served = load_model(folder / "model")
    pictures, numbers, labels = draw(64, seed=STEPS + 1)
    asked = [QUESTIONS[number] for number in numbers]
    answers = served.answer(list(pictures), asked)
    right = np.mean([answer.answer == ANSWERS[label] for answer, label in zip(answers, labels, strict=True)])
    saved = np.mean([answer.macs_saved for answer in answers])
    print(f"right answers: {right:.0%} with {saved:.0%} of the MACs saved")
    for question, answer, label in zip(asked[:2], answers, labels, strict=False):
        print(f"{question} {answer.answer} (right: {ANSWERS[label]})")


if __name__ == "__main__":
    main()
