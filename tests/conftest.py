"""Fixtures that several folders of tests share: golden files, and tiny METER models with a batch for them."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.models.meter import FusionConfig, MeterConfig, MeterOutput
from smarttrim_jax.nn.text import TextConfig
from smarttrim_jax.nn.vision import VisionConfig
from smarttrim_jax.trimming.gates import Trim
from smarttrim_jax.trimming.trimmers import TrimmerConfig, TrimmingConfig

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "shared" / "golden"


@dataclasses.dataclass(frozen=True)
class TinyMeter:
    """A tiny METER, its parameters, and a batch of four examples with texts of 9, 6, 3 and 1 tokens."""

    config: MeterConfig
    params: Params
    images: np.ndarray
    ids: np.ndarray
    mask: np.ndarray

    @functools.cached_property
    def model(self) -> Functional:
        return Functional(self.config)

    @functools.cached_property
    def jitted(self) -> Any:
        return jax.jit(self.model.apply)

    @property
    def batch(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.images, self.ids, self.mask

    def run(self, trim: Trim | None = None, **changes: Any) -> MeterOutput:
        """One evaluation pass on the batch, with some of `params`, `images`, `ids`, `mask` replaced."""
        inputs = {"images": self.images, "ids": self.ids, "mask": self.mask} | changes
        return self.jitted(inputs.pop("params", self.params), **inputs, trim=trim)

    def with_config(self, **changes: Any) -> "TinyMeter":
        """The same parameters and batch under a changed configuration."""
        return dataclasses.replace(self, config=dataclasses.replace(self.config, **changes))


def tiny_config(**changes: Any) -> MeterConfig:
    """Width 32, 4 heads, 16 patches; 3 image layers, 2 text layers, 2 + 2 fusion layers."""
    config = MeterConfig(
        vision=VisionConfig(image_size=32, patch_size=8, width=32, depth=3, heads=4, mlp_width=64),
        text=TextConfig(vocab_size=50, width=32, depth=2, heads=4, mlp_width=64, max_positions=40),
        fusion=FusionConfig(width=32, depth=2, heads=4, mlp_width=64),
        heads=(HeadConfig("vqa", "classifier", 5),),
        trimming=TrimmingConfig(trimmers=TrimmerConfig(hidden=8)),
    )
    return dataclasses.replace(config, **changes)


def decisive(trimmers: Any, seed: int = 9) -> Any:
    """Trimmer parameters whose decisions differ from token to token, head to head, example to example."""
    leaves, treedef = jax.tree.flatten(trimmers)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    drawn = [leaf + 0.5 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, drawn)


def make_tiny(config: MeterConfig) -> TinyMeter:
    """A fresh model of this configuration, with its batch."""
    rng = np.random.default_rng(0)
    shape = (4, config.images, 32, 32, 3)
    lengths = np.array([9, 6, 3, 1])
    mask = (np.arange(10) < lengths[:, None]).astype(np.int32)
    ids = np.where(mask, rng.integers(3, 50, mask.shape), config.text.pad_id).astype(np.int32)
    images = rng.normal(size=shape).astype(np.float32)
    params = jax.jit(Functional(config).init)(jax.random.key(1))
    return TinyMeter(config, params, images, ids, mask)


@pytest.fixture(scope="session")
def golden() -> pathlib.Path:
    """The folder of the official code's outputs, kept beside the repository."""
    if not GOLDEN.is_dir():
        pytest.skip(f"the official code's golden outputs are not at {GOLDEN}")
    return GOLDEN


@pytest.fixture(scope="session")
def fresh_meter() -> TinyMeter:
    """Trimmers as initialised: everything open at offset 0."""
    return make_tiny(tiny_config())


@pytest.fixture(scope="session")
def tiny_meter() -> TinyMeter:
    """Trimmers that at the offset `closing` close about half of tokens and heads, differently in every example."""
    tiny = make_tiny(tiny_config())
    return dataclasses.replace(tiny, params=tiny.params | {"trimmers": decisive(tiny.params["trimmers"])})


@pytest.fixture(scope="session")
def closing() -> Trim:
    """The offset at which `tiny_meter` trims about half."""
    return Trim(offset=jnp.asarray(-2.5))


@pytest.fixture(scope="session")
def two_images() -> TinyMeter:
    """A fresh model that reads two images per example, its text encoded once."""
    return make_tiny(tiny_config(images=2, heads=(HeadConfig("vqa", "classifier", 3),)))
