"""The examples do what their first lines say."""

import os
import pathlib
import subprocess
import sys

import pytest
from forked_commands import ROOT


@pytest.mark.slow
def test_a_folder_of_ones_own_is_learnt_and_asked(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "own_data.py"), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "shapes" / "test.jsonl").exists()
    *_, accuracy, answer = done.stdout.splitlines()
    full, trimmed = (int(part.split("%")[0].split()[-1]) for part in accuracy.split(", "))
    # A guess is right in 4 of 10 cases.
    assert min(full, trimmed) >= 60
    assert answer == "what color is it? green"
