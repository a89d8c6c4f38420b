"""A run that is killed at random moments, and where its files are being written, loses nothing."""

import json
import os
import pathlib

import kills
import pytest
from toy_run import EVERY, run_python


@pytest.mark.slow
def test_kills_leave_nothing_bad_and_lose_one_save_interval_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    tests = pathlib.Path(kills.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (tests, tests / "training"))))
    ended = run_python(kills.__file__, "--random=4", "--aimed=4", timeout=1500)
    assert ended.returncode == 0, ended.stderr[-3000:]
    figures = json.loads(ended.stdout.splitlines()[-1])
    assert figures["at random"] == 4
    # A save in the background may be overtaken by the steps after it.
    assert figures["most steps lost"] < 2 * EVERY
