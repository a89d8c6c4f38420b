"""Processes of one machine: what each is told, and how they end together."""

import json
import pathlib
import signal
import time

import pytest
from launch_scripts import Machine


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path)


def start_two(machine: Machine, behaviour: str, *options: str) -> list[str]:
    logs = f"--logs={machine.folder}/logs"
    return ["local.sh", "--module=local_worker", logs, *options, "--", behaviour, str(machine.folder)]


def test_processes_know_each_other_and_get_the_arguments_untouched(machine: Machine) -> None:
    arguments = ["--config.data.start=two words", "it's", "$HOME", ""]
    outcome = machine.run(*start_two(machine, "tell", "--devices=3"), *arguments)
    assert outcome.status == 0, outcome.stderr
    logs = [outcome.stdout, (machine.folder / "logs" / "process-1.log").read_text()]
    for number, log in enumerate(logs):
        told = json.loads(log)
        port = int(told.pop("JAX_COORDINATOR_ADDRESS").removeprefix("localhost:"))
        assert 1024 < port < 65536
        assert told == {
            "arguments": arguments,
            "JAX_NUM_PROCESSES": "2",
            "JAX_PROCESS_ID": str(number),
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": "3",
        }


def test_gpus_are_shared_out(machine: Machine) -> None:
    machine.run(*start_two(machine, "tell", "--devices=2", "--platform=cuda"))
    told = json.loads((machine.folder / "logs" / "process-1.log").read_text())
    assert told["CUDA_VISIBLE_DEVICES"] == "2,3"


def test_a_dead_process_ends_the_others_which_save(machine: Machine) -> None:
    outcome = machine.run(*start_two(machine, "die"))
    assert outcome.status == 7
    assert "process 1 ended with status 7" in outcome.stderr
    assert "the last words of process 1" in outcome.stderr
    assert (machine.folder / "saved-0").exists()


def test_a_process_that_does_not_listen_is_killed_with_its_children_after_the_grace_time(machine: Machine) -> None:
    outcome = machine.run(*start_two(machine, "deaf", "--grace=0"))
    assert outcome.status == 7
    assert not (machine.folder / "saved-0").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on_so_that_all_save(machine: Machine, number: signal.Signals) -> None:
    process = machine.start(*start_two(machine, "wait"))
    while not all((machine.folder / f"ready-{each}").exists() for each in "01"):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    outcome = machine.outcome(process)
    assert outcome.status == 128 + signal.SIGTERM
    assert all((machine.folder / f"saved-{each}").exists() for each in "01")
    assert outcome.stderr == ""
