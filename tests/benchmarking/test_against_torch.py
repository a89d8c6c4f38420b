"""What the benchmark compares with computes the same; what it cannot compare is refused."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
from fresh_params import fresh_params

from smarttrim_jax.benchmarking.against_torch import TorchForward, check_equal
from smarttrim_jax.benchmarking.torch_process import Forward, Setting, _settings, fastest
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
    forward = TorchForward(config, params, compiles=False)
    check_equal(model, params, forward, batch)
    assert set(forward.settings) <= {f"{len(os.sched_getaffinity(0))} threads", "fused attention"}
    other = params | {"text": jax.tree.map(lambda leaf: 1.1 * leaf, params["text"])}
    with pytest.raises(ConfigError, match="outputs differ by"):
        check_equal(model, other, forward, batch)


@pytest.mark.parametrize("config", [meter_tiny(), blip_tiny("nlvr2")], ids=["meter", "nlvr2"])
def test_what_transformers_lacks_is_refused(config: Any) -> None:
    with pytest.raises(ConfigError, match="compares BLIP for vqa and retrieval"):
        TorchForward(config, {})


class Machine:
    """Stands for a machine and its PyTorch, on which settings cost or save seconds, or fail."""

    def __init__(self, **saved: float):
        self.on: list[str] = []
        self.saved = saved
        self.settings: dict[str, Setting] = {name: self.setting(name) for name in saved}

    def setting(self, name: str) -> Setting:
        @contextlib.contextmanager
        def set_here(forward: Forward) -> Iterator[Forward]:
            self.on.append(name)
            yield lambda: f"{forward()} {name}"
            self.on.remove(name)

        return set_here

    def seconds(self, forward: Forward) -> float:
        if "broken" in self.on:
            raise RuntimeError("no compiler\nand a long explanation")
        return 10 - sum(self.saved[name] for name in self.on)


def test_settings_stay_where_they_help(capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(threads=1.0, slower=-1.0, broken=5.0, same=0.0, compiled=2.0)
    with contextlib.ExitStack() as kept:
        forward, stayed = fastest(lambda: "plain", machine.settings, machine.seconds, kept)
        assert stayed == machine.on == ["threads", "compiled"]
        assert forward() == "plain threads compiled"
        said = "PyTorch runs without 'broken', which fails here: no compiler\n"
        assert capsys.readouterr().err == said
    assert machine.on == []


@pytest.mark.slow
def test_a_compiled_and_a_fused_model_compute_the_same() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.BlipConfig(vision_config=vision | {"image_size": 32}, text_config={"num_hidden_layers": 1})
    model = transformers.BlipForQuestionAnswering(config).eval()
    pixels = torch.rand(2, 3, 32, 32)

    def encoded(pixels: Any) -> Any:
        return model.vision_model(pixel_values=pixels).last_hidden_state

    attend = torch.nn.functional.scaled_dot_product_attention
    calls: list[int] = []
    with torch.inference_mode():
        plain = encoded(pixels)
        settings = _settings(torch, model, "cpu", compiles=True)
        with settings["compiled"](encoded) as forward:
            np.testing.assert_allclose(forward(pixels), plain, atol=1e-5)
        with settings["fused attention"](encoded) as forward, pytest.MonkeyPatch.context() as patch:
            count = lambda *args, **kwargs: calls.append(1) or attend(*args, **kwargs)  # noqa: E731
            patch.setattr(torch.nn.functional, "scaled_dot_product_attention", count)
            np.testing.assert_allclose(forward(pixels), plain, atol=1e-5)
        assert len(calls) == 2
        encoded(pixels)
        assert len(calls) == 2
