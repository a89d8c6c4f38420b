"""The share of the host is measured on the depths of a model, by every execution alike."""

import pytest

from smarttrim_jax import blip_base, meter_base
from smarttrim_jax.benchmarking import host_share
from smarttrim_jax.benchmarking.host_share import NARROW, measure_host, narrowed
from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.reporting.tables import format_host
from smarttrim_jax.training.run_data import fit_to_data


@pytest.mark.parametrize("config", [meter_base(384), blip_base("vqa", 384)], ids=["meter", "blip"])
def test_a_narrow_model_has_the_depths_of_the_wide_one(config) -> None:
    narrow = narrowed(config)
    assert (narrow.vision.width, narrow.vision.heads, narrow.vocab_size) == (64, 4, 128)
    assert narrow.image_size == 6 * config.patch_size
    assert (narrow.depths, narrow.trimming) == (config.depths, config.trimming)


@pytest.mark.slow
def test_every_execution_is_quoted_against_one_full_program(
    experiment: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_share, "NARROW", NARROW | {"width": 16, "mlp_width": 16, "heads": 2, "vocab_size": 50})
    rows = list(measure_host(fit_to_data(experiment, prepare(experiment.data)), [2], repeats=1))
    names = ["one_program_full", "one_program_packed", "host_led_full", "host_led_packed"]
    assert [row["execution"] for row in rows] == names
    full, packed, *_ = rows
    assert full["over_full"] == 1
    assert packed["over_full"] == packed["host_ms"] / full["host_ms"]
    row = {**packed, "host_ms": 1.5, "over_full": 1.25, "compile_seconds": 30.0}
    assert format_host(row) == "one_program_packed      2        1.5      1.25x     30.0 s"
