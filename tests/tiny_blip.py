"""Tiny BLIP models for every task, with a batch of four examples and all passes that a task has, as one function."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fresh_params import fresh_params
from tiny_run import decisive

from smarttrim_jax.models.base import Output
from smarttrim_jax.models.blip import BlipConfig
from smarttrim_jax.models.blip.config import BERT, TASKS, VIT
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import Trim, TrimRecord
from smarttrim_jax.trimming.policies import LearnedPolicyConfig

EVERY_TASK = [pytest.param(task, marks=() if task == "retrieval" else pytest.mark.slow) for task in TASKS]
"""For promises that each task keeps in programs of its own: the one with most kinds of passes every time, all in the
slow tests."""
STAYS_OPEN = ("decoder_target", "decoder_text")
LENGTHS, WORDS = (9, 6, 3, 1), 50
CLOSING = Trim(offset=-5.0)
"""Closes about half of what the trimmers of `tiny_blip` decide about."""


def tiny_config(task: Any, **changes: Any) -> BlipConfig:
    """16 patches of width 24, two layers; texts of width 32, two layers; 4 heads."""
    config = BlipConfig(
        task=task,
        vision=dataclasses.replace(VIT, image_size=32, patch_size=8, width=24, depth=2, heads=4, mlp_width=48),
        text=dataclasses.replace(BERT, vocab_size=WORDS, width=32, depth=2, heads=4, mlp_width=64, max_positions=16),
        first_merge=1,
        features=16,
        trimming=TrimmingConfig(policy=LearnedPolicyConfig(hidden=8)),
    )
    return dataclasses.replace(config, **changes)


def forward(model: Functional, params: Params, inputs: dict[str, Any], trim: Trim | None, key: Any) -> Output:
    """All that a task computes: for questions also two answers each, for pairs first both on their own."""
    module = model.bind(params)
    if model.config.task == "retrieval":
        images = module.encode_images(inputs["images"], trim=trim, key=key)
        texts = module.encode_texts(inputs["ids"], inputs["mask"], trim=trim, key=key)
        output = module.match(images.tokens, inputs["ids"], inputs["mask"], trim=trim, key=key)
        logits = output.logits | {"images": images.features, "texts": texts.features}
        return dataclasses.replace(output, logits=logits, record=output.record | images.record | texts.record)
    output = module(inputs["images"], inputs["ids"], inputs["mask"], trim=trim, key=key)
    if model.config.task == "vqa":
        return module.decode(output, inputs["answers"], inputs["answer_mask"], trim=trim, key=key)
    return output


@functools.cache
def compiled(config: BlipConfig) -> Any:
    """The jitted passes, shared by all tests of a configuration."""
    return jax.jit(lambda params, inputs, trim: forward(Functional(config), params, inputs, trim, None))


@dataclasses.dataclass(frozen=True)
class TinyBlip:
    """A model, its parameters, and inputs by name."""

    config: BlipConfig
    params: Params
    inputs: dict[str, np.ndarray]

    @functools.cached_property
    def model(self) -> Functional:
        return Functional(self.config)

    @property
    def batch(self) -> tuple[np.ndarray, ...]:
        return tuple(self.inputs[name] for name in ("images", "ids", "mask"))

    def run(self, trim: Trim | None = None, rows: Any = None, **changes: Any) -> Output:
        """An evaluation pass, of some rows if asked, with some inputs or `params` replaced."""
        params = changes.pop("params", self.params)
        inputs = self.inputs | changes
        inputs = inputs if rows is None else {name: part[rows] for name, part in inputs.items()}
        dial = None if trim is None else jax.tree.map(jnp.float32, trim)
        return jax.device_get(compiled(self.config)(params, inputs, dial))  # numpy compiles nothing

    def with_config(self, **changes: Any) -> "TinyBlip":
        return dataclasses.replace(self, config=dataclasses.replace(self.config, **changes))


def make_inputs(config: BlipConfig, random: np.random.Generator, lengths: Any = LENGTHS) -> dict[str, np.ndarray]:
    """Images, texts of these lengths, two answers to each question."""
    size = len(lengths)

    def texts(lengths: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
        mask = (np.arange(longest) < lengths[..., None]).astype(np.int32)
        return np.where(mask, random.integers(3, WORDS, mask.shape), 0).astype(np.int32), mask

    ids, mask = texts(np.array(lengths), 10)
    answers, answer_mask = texts(random.integers(1, 6, (size, 2)), 5)
    images = random.normal(size=(size, config.images, 32, 32, 3)).astype(np.float32)
    inputs = {"images": images, "ids": ids, "mask": mask}
    if config.task == "vqa":
        inputs |= {"answers": answers, "answer_mask": answer_mask}
    if config.task == "retrieval":
        inputs["images"] = images[:, 0]
    return inputs


@functools.cache
def fresh_blip(task: str) -> TinyBlip:
    """Trimmers as initialised: everything open at offset 0."""
    config = tiny_config(task)
    return TinyBlip(config, fresh_params(config), make_inputs(config, np.random.default_rng(0)))


@functools.cache
def tiny_blip(task: str) -> TinyBlip:
    """Trimmers that at `CLOSING` close about half, differently in every example."""
    fresh = fresh_blip(task)
    return dataclasses.replace(fresh, params=fresh.params | {"trimmers": decisive(fresh.params["trimmers"])})


def assert_nearly_all_closed(record: TrimRecord) -> None:
    """Only global tokens and texts that are written are left, and no head of a layer that trims."""
    for key, gate in record.gates.items():
        start = 1 if key.run in ("image", "text") else 0
        assert key.name in STAYS_OPEN or (gate.tokens[start:].sum(-1) == 1).all(), key
        assert all((heads[start:] == 0).all() for heads in gate.modules.values()), key


__all__ = [
    "CLOSING",
    "STAYS_OPEN",
    "TASKS",
    "TinyBlip",
    "assert_nearly_all_closed",
    "fresh_blip",
    "make_inputs",
    "tiny_blip",
    "tiny_config",
]
