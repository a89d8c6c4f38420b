"""The installed commands: each does what `python -m` does, with the same flags, page and modules."""

import os
import pathlib
import subprocess
import sys

from forked_commands import ROOT

SCRIPT = """
import sys
from smarttrim_jax.train import run
if __name__ == "__main__":
    sys.exit(run())
"""
"""What pip writes for an entry point."""


def started(words: list[str], folder: pathlib.Path) -> tuple[int, str, str]:
    """Exit status, output and errors of Python started in a folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_a_console_script_does_what_python_m_does(tmp_path: pathlib.Path) -> None:
    (tmp_path / "mine.py").write_text("print('imported from the working folder')\n")
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "smarttrim-train"
    script.write_text(SCRIPT)
    flags = ["--plugins=mine", "--help"]
    status, page, stderr = started([str(script), *flags], tmp_path)
    assert (status, stderr) == (0, "")
    assert page.startswith("imported from the working folder\nTrains, calibrates and evaluates one experiment.\n")
    assert (status, page, stderr) == started(["-m", "smarttrim_jax.train", *flags], tmp_path)
