"""What the benchmark compares with computes the same; what it cannot compare is refused."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from fresh_params import fresh_params

from smarttrim_jax.benchmarking.against_torch import TorchForward, check_equal
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.models.blip import blip_tiny
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.models.meter import meter_tiny


@pytest.mark.parametrize("task", ["vqa", "retrieval"])
def test_only_the_same_outputs_are_compared(task: Any) -> None:
    pytest.importorskip("transformers", reason='needs transformers: pip install -e ".[parity]"')
    config = blip_tiny(task, 32, trimming=None)
    config = dataclasses.replace(config, text=dataclasses.replace(config.text, vocab_size=50))
    params, random = fresh_params(config), np.random.default_rng(0)
    images, ids = random.normal(size=(2, 1, 32, 32, 3)).astype(np.float32), random.integers(3, 50, (2, 7))
    model, batch = Functional(config), (images, ids, np.ones_like(ids))
    forward = TorchForward(config, params)
    check_equal(model, params, forward, batch)
    other = params | {"text": jax.tree.map(lambda leaf: 1.1 * leaf, params["text"])}
    with pytest.raises(ConfigError, match="outputs differ by"):
        check_equal(model, other, forward, batch)


@pytest.mark.parametrize("config", [meter_tiny(), blip_tiny("nlvr2")], ids=["meter", "nlvr2"])
def test_what_transformers_lacks_is_refused(config: Any) -> None:
    with pytest.raises(ConfigError, match="compares BLIP for vqa and retrieval"):
        TorchForward(config, {})
