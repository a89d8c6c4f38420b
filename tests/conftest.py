"""Fixtures that several folders of tests share: golden files, and tiny METER models with a batch for them."""

import dataclasses
import functools
import gc
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from forked_commands import ROOT, command_server, run_forked
from fresh_params import fresh_params
from tiny_run import decisive, small_model, tiny_experiment

from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.base import Output
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.trimming.gates import Trim

# Tests compile far more than they compute; set before the first test touches a device.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"


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

    @property
    def batch(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.images, self.ids, self.mask

    def run(self, trim: Trim | None = None, **changes: Any) -> Output:
        """One evaluation pass on the batch, with some of `params`, `images`, `ids`, `mask` replaced."""
        inputs = {"images": self.images, "ids": self.ids, "mask": self.mask} | changes
        # One shape for every dial, so that a configuration is compiled once; numpy, which compiles nothing.
        dial = None if trim is None else jax.tree.map(jnp.float32, trim)
        if dial is not None and not np.ndim(dial.offset):
            dial = dataclasses.replace(dial, offset=np.full(len(inputs["ids"]), dial.offset))
        return jax.device_get(compiled(self.config)(inputs.pop("params", self.params), **inputs, trim=dial))

    def with_config(self, **changes: Any) -> "TinyMeter":
        """The same parameters and batch under a changed configuration."""
        return dataclasses.replace(self, config=dataclasses.replace(self.config, **changes))


@functools.cache
def compiled(config: MeterConfig) -> Any:
    """The jitted forward pass, shared by all tests of this configuration."""
    return jax.jit(Functional(config).apply)


@pytest.fixture(scope="session", autouse=True)
def _collect_rarely() -> None:
    """Tracing makes many objects; what was imported need not be searched for garbage again and again."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Programs compiled by one test serve all others."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


@pytest.fixture(scope="session")
def golden() -> pathlib.Path:
    """The folder of the official code's outputs."""
    return GOLDEN


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, moved by hand."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture(scope="session")
def training_key() -> jax.Array:
    """A key of the generator that compiles fastest: a training pass draws in a hundred places."""
    return jax.random.key(1, impl="unsafe_rbg")


@pytest.fixture(scope="session")
def fresh_meter() -> TinyMeter:
    """Trimmers as initialised: everything open at offset 0."""
    config, rng = small_model(), np.random.default_rng(0)
    mask = (np.arange(10) < np.array([9, 6, 3, 1])[:, None]).astype(np.int32)
    ids = np.where(mask, rng.integers(3, 50, mask.shape), config.text.pad_id).astype(np.int32)
    images = rng.normal(size=(4, 1, 32, 32, 3)).astype(np.float32)
    return TinyMeter(config, fresh_params(config), images, ids, mask)


@pytest.fixture(scope="session")
def tiny_meter(fresh_meter: TinyMeter) -> TinyMeter:
    """Trimmers that at the offset `closing` close about half, differently in every example."""
    trimmers = decisive(fresh_meter.params["trimmers"])
    return dataclasses.replace(fresh_meter, params=fresh_meter.params | {"trimmers": trimmers})


@pytest.fixture(scope="session")
def closing() -> Trim:
    """The offset at which `tiny_meter` trims about half."""
    return Trim(offset=-2.5)


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """A whole experiment on tiny data."""
    return tiny_experiment(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Runs a command in a process of its own, all forked from one that has imported what they need."""
    folder = tmp_path_factory.mktemp("commands")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("HOME", str(folder))
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder / "compiled"))
        server = command_server("smarttrim_jax.serving.export")

        def run(module: str, flags: list[str], name: str, before: Any = None) -> tuple[int | None, str]:
            return run_forked(server, module, flags, folder / f"{name}.stderr", before)

        yield run
