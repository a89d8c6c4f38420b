"""Whatever a training program put around weights is taken off; what cannot be told apart is a sentence."""

import logging
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from official_blip_names import official_shapes

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.pretrained import from_official_blip
from smarttrim_jax.pretrained.wrapping import WRAPPERS, unwrapped

WEIGHTS = {"visual_encoder.norm.weight": np.ones(2), "model_head.bias": np.zeros(1), "temp": np.float32(0.1)}
PREFIXES = ("module.", "model.", "_orig_mod.", "_forward_module.", "_fsdp_wrapped_module.")


@given(
    st.lists(st.sampled_from(PREFIXES), max_size=3),
    st.lists(st.sampled_from(WRAPPERS), max_size=2),
    st.booleans(),
)
def test_nested_wrappers_and_prefixes_are_taken_off(prefixes: list[str], wrappers: list[str], more: bool) -> None:
    content: Any = {"".join(prefixes) + name: weight for name, weight in WEIGHTS.items()}
    for wrapper in wrappers:
        content = {"epoch": 3, wrapper: content} | ({"optimizer": {"state": {}}, "args": None} if more else {})
    assert unwrapped(content) == WEIGHTS


def test_modules_wrapped_on_their_own_are_taken_out() -> None:
    names = ["visual_encoder._orig_mod.norm.weight", "model_head._fsdp_wrapped_module.bias", "temp"]
    assert unwrapped(dict(zip(names, WEIGHTS.values(), strict=True))) == WEIGHTS


def test_the_trained_weights_count_before_their_average() -> None:
    assert unwrapped({"ema": {"a": 1}, "model": {"a": 2}}) == {"a": 2}
    assert unwrapped({"ema": {"a": 1}, "model": {}}) == {"a": 1}


def test_prefixes_of_some_names_alone_or_names_that_become_one_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"1 of 2 weights have the prefix .* \('model.a'\), others .* \('b'\)"):
        unwrapped({"model.a": 1, "b": 2})
    with pytest.raises(CheckpointError, match="two weights are called 'a' without the prefixes"):
        unwrapped({"module.a": 1, "model.a": 2})


def test_a_retrieval_checkpoint_without_temperature_starts_with_the_models_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    random = np.random.default_rng(0)
    tensors = {
        f"module.{name}": random.normal(size=shape).astype(np.float32)
        for name, shape in official_shapes("retrieval").items()
        if name != "temp" and "_m." not in name and "queue" not in name
    }
    with caplog.at_level(logging.WARNING):
        config, params = from_official_blip({"model_state_dict": tensors}, vision_heads=3, text_heads=5)
    assert config.task == "retrieval"
    np.testing.assert_allclose(params["temperature"], 0.07)
    assert [record.message for record in caplog.records] == [
        "these weights hold no temperature ('temp'): it stays the model's own, 0.07 in a new one"
    ]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
