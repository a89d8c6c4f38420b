"""The measuring code on tiny models: every row says what it must, and the sections add up."""

import pathlib
import time
from typing import Any

import jax.numpy as jnp
import pytest
from fresh_params import fresh_params
from tiny_run import small_model

from smarttrim_jax.benchmarking.accelerator.comparison import Comparison, Subject
from smarttrim_jax.benchmarking.accelerator.device_time import device_time, union_length
from smarttrim_jax.benchmarking.accelerator.executions import TRIMMED
from smarttrim_jax.benchmarking.accelerator.kernels import attention_errors, usable_kernel
from smarttrim_jax.benchmarking.accelerator.plan import Plan, narrowed
from smarttrim_jax.benchmarking.accelerator.report import Report
from smarttrim_jax.benchmarking.accelerator.stages import RESERVE, run_stages
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.blip import blip_tiny
from smarttrim_jax.models.meter import meter_base

KEYS = {
    "model",
    "batch_size",
    "keep",
    "execution",
    "seconds",
    "spread",
    "queued_seconds",
    "device_seconds",
    "device_seconds_from",
    "host_share",
    "compile_seconds",
    "macs_ratio",
    "speedup",
    "realised",
    "of_peak",
    "difference",
}


def measure(folder: pathlib.Path, executions: tuple[str, ...]) -> Report:
    """A tiny model's batch of two, computed in these ways."""
    config = small_model()
    subject = Subject("tiny", config, text_length=6, params=fresh_params(config))
    study = Comparison(subject, 2, executions, (0.5,), peak=1e9, repeats=1)
    report = Report(str(folder / "figures.json"), {}, lambda section, row: None)
    assert run_stages([[study]], report, time.monotonic() + RESERVE + 300)
    return report


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return measure(tmp_path_factory.mktemp("report"), ("program", "padded"))


@pytest.mark.slow
def test_every_execution_has_a_row(report: Report) -> None:
    assert report.values["left_out"] == []
    assert [row["execution"] for row in report.values["rows"]] == ["program", "padded"]
    assert all(set(row) == KEYS for row in report.values["rows"])


@pytest.mark.slow
def test_speed_is_quoted_against_full_capacity(report: Report) -> None:
    program, padded = report.values["rows"]
    assert padded["speedup"] == program["seconds"] / padded["seconds"]
    assert padded["realised"] == padded["speedup"] / padded["macs_ratio"]
    assert padded["macs_ratio"] > 1 == program["macs_ratio"]
    assert program["of_peak"] / padded["of_peak"] == pytest.approx(
        padded["macs_ratio"] * padded["seconds"] / program["seconds"]
    )


@pytest.mark.slow
def test_all_executions_compute_the_same(tmp_path: pathlib.Path) -> None:
    report = measure(tmp_path, ("full", "program", "padded", "packed", "one_program"))
    assert report.values["left_out"] == []
    full, program, padded, packed, one_program = report.values["rows"]
    assert packed["speedup"] == min(full["seconds"], program["seconds"]) / packed["seconds"]
    assert full["difference"] == padded["difference"] == 0
    assert max(row["difference"] for row in (program, packed, one_program)) < 1e-4
    assert padded["macs_ratio"] == packed["macs_ratio"] == one_program["macs_ratio"]


def data_of(start: Any) -> DataConfig:
    return DataConfig("easy_vqa", batch_size=2, image_size=32, text_length=6, start=start)


def test_the_plan_names_every_study_once_and_the_most_important_first() -> None:
    meter = ExperimentConfig(model=small_model(), data=data_of(""))
    blip = ExperimentConfig(model=blip_tiny("vqa", 32), data=data_of("[ENC]"))
    stages = Plan(("meter", meter), ("blip", blip), peak=1.0).stages()
    names = [study.name for stage in stages for study in stage]
    assert len(names) == len(set(names))
    assert names[:2] == ["meter, batch 8, full/program/packed", "meter, batch 64, full/program/packed"]
    for word in (*TRIMMED, "torch", "unrolled", "training", "cudnn", "narrow"):
        assert any(word in name for name in names), word


def test_the_narrow_model_has_the_same_layers() -> None:
    config, narrow = meter_base(), narrowed(meter_base())
    for part in ("vision", "text", "fusion"):
        before, after = (getattr(each, part) for each in (config, narrow))
        assert (before.depth, before.heads) == (after.depth, after.heads)
        assert after.width < before.width / 4


def test_overlapping_work_counts_once() -> None:
    assert union_length([]) == 0
    assert union_length([(0, 2), (1, 3), (5, 6), (5.2, 5.4), (6, 7)]) == 5


def test_without_streams_in_the_profile_the_queue_tells() -> None:
    time = device_time(lambda: jnp.ones(()))
    assert time.source == "queue"
    assert time.seconds == time.queued > 0


def test_a_kernel_that_is_wrong_is_not_measured_with() -> None:
    fine, wrong, failed = {"agrees": True}, {"error": 1.0, "agrees": False}, {"raised": "unsupported"}
    assert usable_kernel("auto", {"padded": fine, "packed": fine}) == "auto"
    assert usable_kernel("auto", {"padded": fine, "packed": wrong}) == "xla"
    assert usable_kernel("auto", {"padded": failed, "packed": fine}) == "xla"
    assert usable_kernel("cudnn", {"padded": failed}) == "cudnn"


def test_the_check_of_the_kernel_sees_every_layout_and_training() -> None:
    errors = attention_errors()
    assert set(errors) == {"padded", "packed", "training"}
    assert all(error["agrees"] for error in errors.values())
