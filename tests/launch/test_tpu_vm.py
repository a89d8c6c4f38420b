"""A TPU slice that is asked for, used, taken away and made anew."""

import pathlib

import pytest
from launch_scripts import Machine, Outcome

SLICE = ["--name=trim", "--type=v5e-256", "--zone=us-west4-a", "--spot"]
PROGRAM = ["--", "--config=configs/easy_vqa.py:trim", "--workdir=gs://bucket/trim"]
MAKE = ["queued-resources delete", "queued-resources create"]
SETUP = ["archive", "tpu-vm ssh 0", "tpu-vm scp all", "tpu-vm ssh all"]


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path, "gcloud", "git")


def steps(outcome: Outcome) -> list[str]:
    """What was called, in short; looks at the state left out."""
    short = []
    for call in outcome.calls:
        if call[0] == "git":
            short += ["archive"] * ("archive" in call)
        elif call[4] != "describe":
            workers = [word.removeprefix("--worker=") for word in call if word.startswith("--worker=")]
            short.append(" ".join([*call[3:5], *workers]))
    return short


def test_create_waits_until_the_slice_is_there(machine: Machine) -> None:
    machine.answer("ABSENT", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE")
    outcome = machine.run("tpu_vm.sh", "create", *SLICE)
    assert outcome.status == 0, outcome.stderr
    assert steps(outcome) == MAKE[1:]
    assert len(outcome.calls) == 5


def test_create_makes_a_failed_slice_anew_but_not_for_ever(machine: Machine) -> None:
    machine.answer("FAILED")
    outcome = machine.run("tpu_vm.sh", "create", *SLICE, "--recreate=2")
    assert outcome.status == 1
    assert steps(outcome) == 2 * MAKE
    assert "error: trim is FAILED" in outcome.stderr


def test_a_run_whose_slice_is_taken_away_goes_on_with_the_same_command_on_a_new_one(machine: Machine) -> None:
    machine.answer("ACTIVE", "SUSPENDING", "SUSPENDING", "SUSPENDED", "WAITING_FOR_RESOURCES", "ACTIVE")
    machine.fail("255 smarttrim_jax.train")
    outcome = machine.run("tpu_vm.sh", "run", *SLICE, *PROGRAM)
    assert outcome.status == 0, outcome.stderr
    assert steps(outcome) == ["tpu-vm ssh all", *MAKE, *SETUP, "tpu-vm ssh all"]
    trainings = [call for call in outcome.calls if "smarttrim_jax.train" in call[-1]]
    assert len(trainings) == 2
    assert trainings[0] == trainings[1]


def test_a_run_that_finds_its_slice_taken_away_starts_by_making_it_anew(machine: Machine) -> None:
    machine.answer("SUSPENDED", "SUSPENDED", "ACTIVE")
    outcome = machine.run("tpu_vm.sh", "run", *SLICE, *PROGRAM)
    assert outcome.status == 0, outcome.stderr
    assert steps(outcome) == [*MAKE, *SETUP, "tpu-vm ssh all"]


def test_a_failing_program_is_not_run_again_and_its_status_is_passed_on(machine: Machine) -> None:
    machine.answer("ACTIVE")
    machine.fail("3 smarttrim_jax.train")
    outcome = machine.run("tpu_vm.sh", "run", *SLICE, *PROGRAM)
    assert outcome.status == 3
    assert steps(outcome) == ["tpu-vm ssh all", "tpu-vm ssh all"]
    assert "tail" in outcome.calls[-1][-1]


def test_a_slice_that_was_deleted_is_not_made_anew(machine: Machine) -> None:
    machine.answer("ACTIVE", "ABSENT")
    machine.fail("255 smarttrim_jax.train")
    outcome = machine.run("tpu_vm.sh", "run", *SLICE, *PROGRAM)
    assert outcome.status == 255
    assert steps(outcome) == ["tpu-vm ssh all"]


def test_a_step_of_the_setup_that_fails_ends_it(machine: Machine) -> None:
    machine.fail("4 scp")
    outcome = machine.run("tpu_vm.sh", "setup", "--name=trim")
    assert outcome.status == 4
    assert steps(outcome) == SETUP[:3]


def test_arguments_reach_the_program_through_the_workers_shell(machine: Machine) -> None:
    arguments = ["--config.text=two words", "it's", '"$HOME"', "*", "", "a\nb", "--workdir=gs://b/run"]
    machine.answer("ACTIVE")
    machine.install(machine.folder / "home" / "smarttrim" / ".venv" / "bin" / "python")
    outcome = machine.run("tpu_vm.sh", "run", *SLICE, "--env=WORDS=x y", "--", *arguments)
    assert outcome.status == 0, outcome.stderr
    assert outcome.calls[-1] == ["python", "-m", "smarttrim_jax.train", *arguments]
