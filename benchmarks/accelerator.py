"""Measures METER and BLIP on one accelerator; see `benchmarks/accelerator.sh --help`."""

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import os
import pathlib
import runpy
import subprocess
import sys
import time
from typing import Any, get_args

import jax

from smarttrim_jax.benchmarking.accelerator.kernels import attention_errors, usable_kernel
from smarttrim_jax.benchmarking.accelerator.plan import Plan
from smarttrim_jax.benchmarking.accelerator.report import Report
from smarttrim_jax.benchmarking.accelerator.stages import run_stages
from smarttrim_jax.benchmarking.measurement import matmul, queued_seconds
from smarttrim_jax.benchmarking.origin import origin
from smarttrim_jax.configuration import build
from smarttrim_jax.errors import SmartTrimError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.tokens import Kernel

START = time.monotonic()
ROOT = pathlib.Path(__file__).resolve().parents[1]
SMALL: dict[str, Any] = {"batch_sizes": (2,), "outer": (2,), "steps": (2,), "keeps": (0.5,), "repeats": 2}
SHOWN = (
    "model",
    "attention",
    "batch_size",
    "keep",
    "execution",
    "step",
    "seconds",
    "queued_seconds",
    "device_seconds",
    "host_share",
    "macs_ratio",
    "speedup",
    "realised",
    "of_peak",
    "against_torch",
    "cost",
    "difference",
    "compile_seconds",
    "what",
    "why",
)


def main() -> None:
    """Runs the plan; ends at once when the time is used up, whatever is still being compiled."""
    options = _options()
    names = ("meter_tiny", "blip_tiny") if options.small else ("meter_base", "blip_vqa")
    head = {
        **origin("benchmarks/accelerator.sh", commit=options.commit, **_machine()),
        "peak": None,
    }
    report = Report(options.output, head, _show)
    product, macs = matmul("bfloat16", 512 if options.small else 8192)
    peak = macs / queued_seconds(product, 20)
    report.set("peak", {"dtype": "bfloat16", "macs_per_second": peak, "tflops": 2 * peak / 1e12})
    errors = attention_errors()
    kernel = usable_kernel(options.attention, errors)
    report.set("attention_kernel", {"asked": options.attention, "used": kernel, "auto_against_xla": errors})
    meter, blip = ((name, _experiment(name, kernel)) for name in names)
    kernels: tuple[Kernel, ...] = ("cudnn", "xla") if jax.default_backend() == "gpu" else ("xla",)
    plan = Plan(meter, blip, peak, profile=options.profile, kernels=kernels, **(SMALL if options.small else {}))
    stages = [[study for study in stage if _is_asked_for(study.name, options.only)] for stage in plan.stages()]
    is_complete = run_stages([stage for stage in stages if stage], report, START + 60 * options.minutes)
    print(f"{report.values['seconds']:.0f} s; {options.output}", flush=True)
    if not is_complete:
        os._exit(0)  # a compilation cannot be stopped, and would be waited for


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--output", default="accelerator.json")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--attention", choices=get_args(Kernel), default="auto")
    parser.add_argument("--profile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--commit", default=os.environ.get("COMMIT", ""))
    options = parser.parse_args()
    if not options.minutes > 0:
        parser.error(f"--minutes is {options.minutes}; give a positive number")
    return options


def _is_asked_for(study: str, only: list[str]) -> bool:
    return not only or any(part in study for part in only)


def _experiment(name: str, kernel: Kernel) -> ExperimentConfig:
    """A model of configs/benchmark.py in bfloat16; one layer of each run is compiled."""
    settings = runpy.run_path(str(ROOT / "configs" / "benchmark.py"))["get_config"](name)
    config = build(ExperimentConfig, settings.to_dict())
    model = dataclasses.replace(config.model, dtype="bfloat16", attention=kernel, scan=True)
    return dataclasses.replace(config, model=model)


def _machine() -> dict[str, Any]:
    """What matters of the machine beside what every measurement says."""
    machine: dict[str, Any] = {"platform": jax.devices()[0].client.platform_version}
    if jax.default_backend() == "gpu":
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        machine["driver"] = _output_of(asked)
    is_installed = importlib.util.find_spec("torch") is not None
    return machine | {"torch": importlib.metadata.version("torch") if is_installed else None}


def _output_of(command: list[str]) -> str:
    """What a command prints; nothing where it fails or does not exist."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _show(section: str, row: dict[str, Any]) -> None:
    shown = {key: row[key] for key in SHOWN if key in row}
    words = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in shown.values()]
    pairs = zip(shown, words, strict=True)
    print(section, *(word if key in SHOWN[:6] else f"{key}={word}" for key, word in pairs), flush=True)


if __name__ == "__main__":
    try:
        main()
    except SmartTrimError as error:
        sys.exit(f"error: {error}")
