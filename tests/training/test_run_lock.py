"""Two trainings never share a folder, and a lock that nobody holds any more never stops one."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from smarttrim_jax.errors import TrainingError
from smarttrim_jax.training import run_lock
from smarttrim_jax.training.run_lock import FILE_NAME, RunLock


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for as long as on a cluster."""
    monkeypatch.setattr(run_lock, "RENEWED_EVERY", 0.05)
    monkeypatch.setattr(run_lock, "STALE_AFTER", 1.0)
    monkeypatch.setattr(run_lock, "_HALF_WRITTEN_STALE_AFTER", 0.2)
    monkeypatch.setattr(run_lock, "_LOOK_EVERY", 0.02)
    monkeypatch.setattr(run_lock, "_SETTLED_AFTER", 0.05)


def lock_of(folder: pathlib.Path, **changes: Any) -> dict[str, Any]:
    """Leaves a lock like this process's, with changes."""
    with RunLock(folder):
        content = json.loads((folder / FILE_NAME).read_text())
    (folder / FILE_NAME).write_text(json.dumps(content | changes))
    return content | changes


def take(folder: pathlib.Path) -> None:
    with RunLock(folder) as lock:
        lock.check()
        assert json.loads((folder / FILE_NAME).read_text())["process"] == os.getpid()


def test_a_second_training_is_refused_in_one_sentence_and_the_first_goes_on(tmp_path: pathlib.Path) -> None:
    with RunLock(tmp_path) as lock:
        before = json.loads((tmp_path / FILE_NAME).read_text())
        with pytest.raises(TrainingError) as refused, RunLock(tmp_path):
            pass
        lock.check()
    message = str(refused.value)
    assert f"'{tmp_path}' is in use: process {os.getpid()} on {before['host']} since {before['since']}" in message
    assert "choose another --workdir" in message
    assert not os.listdir(tmp_path)
    take(tmp_path)


def test_a_lock_is_let_go_on_errors(tmp_path: pathlib.Path) -> None:
    for error in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error), RunLock(tmp_path):
            raise error
        assert not os.listdir(tmp_path)


HOLDING = """
import sys, time
from smarttrim_jax.training.preemption import leaving_on_sigterm
from smarttrim_jax.training.run_lock import RunLock
with leaving_on_sigterm(), RunLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, *(pytest.param(it, marks=pytest.mark.slow) for it in (signal.SIGTERM, signal.SIGINT))]
)
def test_a_process_that_is_gone_holds_no_lock(tmp_path: pathlib.Path, number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(TrainingError, match=f"in use: process {process.pid} "):
        take(tmp_path)
    process.send_signal(number)
    process.communicate()
    assert (number == signal.SIGKILL) == (tmp_path / FILE_NAME).exists()
    take(tmp_path)


@pytest.mark.parametrize("start", ["", "17"])
def test_a_number_given_to_another_process_holds_no_lock(tmp_path: pathlib.Path, start: str) -> None:
    lock_of(tmp_path, process_start=start)
    take(tmp_path)


def test_the_lock_of_a_process_that_runs_here_holds_however_old_it_is(tmp_path: pathlib.Path) -> None:
    lock_of(tmp_path, renewed=0.0)
    with pytest.raises(TrainingError, match="is in use"):
        take(tmp_path)


@pytest.mark.parametrize("away", [{"host": "elsewhere"}, {"machine": "another start"}])
def test_a_lock_of_another_machine_that_is_renewed_holds(tmp_path: pathlib.Path, away: dict[str, str]) -> None:
    content = lock_of(tmp_path, **away, renewed=time.time())
    renewing = threading.Timer(
        0.3, lambda: (tmp_path / FILE_NAME).write_text(json.dumps(content | {"renewed": time.time()}))
    )
    renewing.start()
    with pytest.raises(TrainingError, match="is in use"):
        take(tmp_path)
    renewing.join()


@pytest.mark.parametrize("renewed", [0.0, -0.9, 1e6, float("nan"), -float("inf")])
def test_a_lock_of_another_machine_that_is_not_renewed_is_stale_in_time(
    tmp_path: pathlib.Path, renewed: float
) -> None:
    lock_of(tmp_path, host="elsewhere", renewed=time.time() + renewed)
    started = time.monotonic()
    take(tmp_path)
    assert time.monotonic() - started < 20 * run_lock.STALE_AFTER


@pytest.mark.parametrize("content", [b"", b"{", b"\0\0", b"[]", b"3", b"{}", b'{"holder": "of another version"}'])
def test_an_odd_lock_is_stale_in_time(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    take(tmp_path)


def test_of_many_that_find_a_stale_lock_one_has_it(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "_SETTLED_AFTER", 0.5)
    lock_of(tmp_path, process_start="17")
    ends: list[str] = []
    done = threading.Event()

    def contend() -> None:
        try:
            with RunLock(tmp_path):
                ends.append("held")
                done.wait(20)
        except TrainingError:
            ends.append("refused")

    threads = [threading.Thread(target=contend) for _ in range(6)]
    for thread in threads:
        thread.start()
    while len(ends) < len(threads):
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["held"] + ["refused"] * 5


def test_a_training_whose_lock_was_taken_over_saves_nothing_more(tmp_path: pathlib.Path) -> None:
    with RunLock(tmp_path / ".") as lost:
        theirs = lock_of_another(tmp_path)
        with pytest.raises(TrainingError, match="no longer held by this training"):
            lost.check()
        time.sleep(5 * run_lock.RENEWED_EVERY)
    assert json.loads((tmp_path / FILE_NAME).read_text()) == theirs


def lock_of_another(folder: pathlib.Path) -> dict[str, Any]:
    theirs = json.loads((folder / FILE_NAME).read_text()) | {"host": "elsewhere", "lock": "theirs"}
    (folder / FILE_NAME).write_text(json.dumps(theirs))
    return theirs


def test_a_folder_that_cannot_be_written_is_said(tmp_path: pathlib.Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(TrainingError, match=r"cannot write '.*run.lock'.*choose a writable --workdir"):
        take(tmp_path)
