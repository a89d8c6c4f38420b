"""The benchmark of forced gates, as its command measures it."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from forked_commands import ROOT


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
