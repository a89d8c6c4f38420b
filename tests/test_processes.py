"""Which environments speak of several processes, and what is said where they do so wrongly."""

import subprocess
import sys
import threading

import jax
import pytest
from processes import ROOT

from smarttrim_jax import processes as joining
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.processes import (
    LOST_PROCESS,
    Timeouts,
    _LastWords,
    coordinates,
    first_alone,
    is_one_of_many,
    joined,
    same_everywhere,
)

ADDRESS = {"JAX_COORDINATOR_ADDRESS": "host:1234"}
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}


@pytest.mark.parametrize(
    ("environment", "many"),
    [
        ({}, False),
        (ADDRESS, True),
        (SLURM, True),
        (SLURM | {"SLURM_NTASKS": "1"}, False),
        # A batch script of Slurm's, before its `srun`, is one process.
        ({name: value for name, value in SLURM.items() if name != "SLURM_STEP_NODELIST"}, False),
        # No TPU is in this machine.
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, False),
    ],
)
def test_the_environment_tells_whether_a_process_is_one_of_many(environment: dict[str, str], many: bool) -> None:
    assert is_one_of_many(environment) == many


def test_jax_is_told_what_it_does_not_read_itself() -> None:
    assert coordinates({}) == {}
    assert coordinates(SLURM) == {}
    assert coordinates(ADDRESS | SLURM) == {"coordinator_address": "host:1234"}
    given = ADDRESS | {"JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}
    assert coordinates(given) == {"coordinator_address": "host:1234", "num_processes": 4, "process_id": 3}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "host"}, "JAX_COORDINATOR_ADDRESS is 'host'; it must be of the form host:port"),
        ({"JAX_PROCESS_ID": "2"}, r"JAX_PROCESS_ID is 2; with JAX_NUM_PROCESSES=2 it must lie in 0\.\.1"),
        ({"JAX_PROCESS_ID": "one"}, "JAX_PROCESS_ID is 'one'; .* every process needs a number"),
        ({"JAX_NUM_PROCESSES": ""}, "JAX_NUM_PROCESSES is ''; .* every process needs a number"),
    ],
)
def test_a_process_that_does_not_know_its_place_is_told_so(changes: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        coordinates(ADDRESS | {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"} | changes)


# A shell that salloc or srun opens keeps SLURM_NTASKS of its allocation.
@pytest.mark.parametrize("step", [{"SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_STEP_ID": "4294967290"}])
@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_lone_step_of_slurm_is_refused_before_it_waits(
    step: dict[str, str], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (SLURM | {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"} | step).items():
        monkeypatch.setenv(name, value)
    said = r"speak of 4 tasks, but this step has 1.*--distributed=off"
    with pytest.raises(ConfigError, match=said), joined(mode, Timeouts()):
        pass
    with joined("off", Timeouts()) as process:
        assert process == 0


@pytest.mark.parametrize("step", [{}, {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_ID": "0"}])
def test_a_whole_step_of_slurm_is_joined(step: dict[str, str]) -> None:
    assert coordinates(SLURM | step) == {}


def test_waiting_for_others_is_said(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    said = threading.Event()
    monkeypatch.setattr(joining, "_WAITING_IS_SAID_AFTER", 0.0)
    monkeypatch.setattr(joining, "print", lambda *words, **_: (print(*words), said.set()), raising=False)

    def wait(**_: object) -> None:
        assert said.wait(timeout=60)
        raise RuntimeError("nobody came")

    monkeypatch.setattr(jax.distributed, "initialize", wait)
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "host:1234")
    with pytest.raises(ConfigError, match="nobody came"), joined("auto", Timeouts(connect=7)):
        pass
    assert "waiting for the other processes of this run, at most 7 s" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("jax.errors.JaxRuntimeError('UNAVAILABLE: connection closed by peer')", LOST_PROCESS),
        ("jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: out of memory')", 1),
        pytest.param("ConfigError('eps is -1')", 1, marks=pytest.mark.slow),
        pytest.param("KeyError('a bug')", 1, marks=pytest.mark.slow),
    ],
)
def test_the_exit_status_tells_a_lost_process_from_what_would_happen_again(error: str, status: int) -> None:
    program = f"""
import os
import jax
from smarttrim_jax.errors import ConfigError
from smarttrim_jax import processes as joining
joining._COORDINATOR_STAYS = 0.0
jax.distributed.initialize = lambda **_: None
os.environ["JAX_COORDINATOR_ADDRESS"] = "host:1234"
with joining.joined("auto", joining.Timeouts()):
    raise {error}
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == status, ended.stderr


def test_a_process_alone_takes_no_turns() -> None:
    assert first_alone(lambda: 5) == 5
    assert same_everywhere(7)


ENDS = {"aborted": ("os.abort()", "error: lost\n"), "well": ("", "")}


@pytest.mark.parametrize("how", ENDS)
def test_last_words_are_said_by_a_process_that_cannot_speak_any_more(how: str) -> None:
    act, said = ENDS[how]
    program = f"""
import os
from {_LastWords.__module__} import _LastWords
with _LastWords() as last_words:
    last_words.are("error: not yet")
    last_words.are("error:   lost")
    {act}
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.stderr == said
