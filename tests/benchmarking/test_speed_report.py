"""The benchmark of forced gates, as its command measures it."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from forked_commands import ROOT
from fresh_params import fresh_params
from tiny_run import small_model

from smarttrim_jax.benchmarking.forced_load import forced_load
from smarttrim_jax.trimming.config import TrimmingConfig


@pytest.mark.slow
def test_every_execution_is_measured_at_every_share(tmp_path: pathlib.Path) -> None:
    flags = ["--config=configs/benchmark.py:meter_tiny,32", "--keep=1,0.5", "--batch_sizes=2", "--repeats=1"]
    command = [sys.executable, "-m", "smarttrim_jax.benchmark", *flags, f"--output={tmp_path / 'figures.json'}"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "figures.json").read_text())["results"]
    executions = ("full", "padded", "packed", "one_program")
    assert [(row["keep"], row["execution"]) for row in rows] == [
        (keep, execution) for keep in (1.0, 0.5) for execution in executions
    ]
    ratios = {(row["keep"], row["execution"]): row["macs_ratio"] for row in rows}
    assert ratios[1.0, "packed"] == pytest.approx(1, abs=0.05)  # trimmers that close nothing
    assert ratios[0.5, "packed"] == ratios[0.5, "one_program"] == ratios[0.5, "padded"] > 1.2
    assert ratios[0.5, "full"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("keep", [1.0, 0.5, 0.01])
def test_all_examples_keep_the_same_share_of_heads(keep: float) -> None:
    config = small_model(trimming=TrimmingConfig())
    load = forced_load(config, fresh_params(config), 12, 3, seed=0, keep_heads=keep)
    record = jax.jit(load.model.apply)(load.params, *load.batch, trim=load.trim(1.0)).record
    opened = {key.name: gates.heads[-1].sum(-1) for key, gates in record.gates.items() if gates.heads is not None}
    assert opened.keys() == {"image", "text", "fusion_image", "fusion_text"}
    for heads in opened.values():
        np.testing.assert_array_equal(heads, [max(1, 4 * keep)] * 3)
