"""A TPU slice that is asked for, used, taken away and made anew."""

import pathlib

import pytest
from launch_scripts import Machine, Outcome

SLICE = ["--name=trim", "--type=v5e-256", "--zone=us-west4-a", "--spot"]
PROGRAM = ["--", "--config=configs/easy_vqa.py:trim", "--workdir=gs://bucket/trim"]
MAKE = ["delete", "create"]
SETUP = ["archive", "ssh 0", "ssh all", "scp all", "ssh all"]
# Of a run that begins: what is installed is compared with what the workdir holds.
BEGIN = ["cat", "ssh 0"]
# Of a run that has no record when its slice is made anew.
AGAIN = ["cat", *SETUP]


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path, "gcloud", "git", "sleep")


def steps(outcome: Outcome) -> list[str]:
    """What was called, in short; looks at the state and waits left out."""
    short = []
    for call in outcome.calls:
        if call[0] == "git":
            short += ["archive"] * ("archive" in call)
        elif call[:2] == ["gcloud", "storage"]:
            short.append(call[2])
        elif call[0] == "gcloud" and call[4] != "describe":
            workers = [word.removeprefix("--worker=") for word in call if word.startswith("--worker=")]
            short.append(" ".join([call[4], *workers]))
    return short


def waits(outcome: Outcome) -> list[int]:
    """Seconds that the script slept, one time after another."""
    return [int(call[1]) for call in outcome.calls if call[0] == "sleep"]


def test_create_waits_until_the_slice_is_there(machine: Machine) -> None:
    machine.answer("ABSENT", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE")
    outcome = machine.run("tpu_vm.sh", "create", *SLICE)
    assert outcome.status == 0, outcome.stderr
    assert steps(outcome) == MAKE[1:]
    assert waits(outcome) == [0, 0, 0]


def test_a_slice_that_failed_is_asked_for_anew_with_longer_waits_and_not_for_ever(machine: Machine) -> None:
    machine.answer("FAILED")
    machine.explain("no capacity", "quota exceeded", "an internal error", "no capacity", "quota exceeded")
    machine.environment["SMARTTRIM_POLL"] = "30"
    outcome = machine.run("tpu_vm.sh", "create", *SLICE, "--recreate=3")
    assert outcome.status == 1
    assert steps(outcome) == 3 * MAKE
    assert waits(outcome) == [30, 30, 60, 30, 120, 30]
    assert "tpu_vm.sh: trim is FAILED: quota exceeded\n" in outcome.stderr
    assert outcome.stderr.endswith("error: trim is FAILED, and was tried again often enough (--recreate)\n")


def test_the_same_failure_twice_ends_it_with_its_reason(machine: Machine) -> None:
    machine.answer("FAILED")
    machine.explain("the type v5litepod-256 is not in zone us-west4-a")
    outcome = machine.run("tpu_vm.sh", "create", *SLICE)
    assert outcome.status == 1
    assert steps(outcome) == MAKE
    said = "error: trim is FAILED twice for the same reason: the type v5litepod-256 is not in zone us-west4-a\n"
    assert outcome.stderr.endswith(said)


def test_a_failure_without_a_reason_says_where_to_look(machine: Machine) -> None:
    machine.answer("FAILED")
    outcome = machine.run("tpu_vm.sh", "create", *SLICE)
    assert "gcloud names no reason; see tpu_vm.sh status" in outcome.stderr


def test_a_slice_that_is_taken_away_again_and_again_is_made_anew(machine: Machine) -> None:
    machine.answer("SUSPENDED", "SUSPENDED", "SUSPENDED", "ACTIVE")
    outcome = machine.run("tpu_vm.sh", "create", *SLICE)
    assert outcome.status == 0, outcome.stderr
    assert steps(outcome) == 3 * MAKE


def test_a_run_whose_slice_is_taken_away_goes_on_with_the_same_command_on_a_new_one(machine: Machine) -> None:
    machine.answer("ACTIVE", "SUSPENDING", "SUSPENDING", "SUSPENDED", "WAITING_FOR_RESOURCES", "ACTIVE")
    machine.fail("255 smarttrim_jax.train")
    outcome = machine.run("tpu_vm.sh", "run", *SLICE, *PROGRAM)
    assert outcome.status == 0, outcome.stderr
    assert steps(outcome) == [*BEGIN, "ssh all", *MAKE, *AGAIN, "ssh all"]
    trainings = [call for call in outcome.calls if "smarttrim_jax.train" in call[-1]]
    assert len(trainings) == 2
    assert trainings[0] == trainings[1]


def test_a_run_that_finds_its_slice_taken_away_starts_by_making_it_anew(machine: Machine) -> None:
    machine.answer("SUSPENDED", "SUSPENDED", "ACTIVE")
    outcome = machine.run("tpu_vm.sh", "run", *SLICE, *PROGRAM)
    assert outcome.status == 0, outcome.stderr
    assert steps(outcome) == [*MAKE, *AGAIN, *BEGIN, "ssh all"]


def test_a_failing_program_is_not_run_again_and_its_status_is_passed_on(machine: Machine) -> None:
    machine.answer("ACTIVE")
    machine.fail("3 smarttrim_jax.train")
    outcome = machine.run("tpu_vm.sh", "run", *SLICE, *PROGRAM)
    assert outcome.status == 3
    assert steps(outcome) == [*BEGIN, "ssh all", "ssh all"]
    assert "tail" in outcome.calls[-1][-1]


@pytest.mark.parametrize(
    ("statuses", "runs", "status"), [((75,), 2, 0), ((75, 134), 3, 0), ((75, 75), 2, 75), ((143,), 1, 143)]
)
def test_a_lost_process_starts_the_run_anew_but_not_twice_for_the_same(
    machine: Machine, statuses: tuple[int, ...], runs: int, status: int
) -> None:
    machine.answer("ACTIVE")
    machine.fail(*(f"{each} smarttrim_jax.train" for each in statuses))
    outcome = machine.run("tpu_vm.sh", "run", *SLICE, *PROGRAM)
    assert outcome.status == status, outcome.stderr
    assert sum("smarttrim_jax.train" in call[-1] for call in outcome.calls) == runs


def test_a_slice_that_was_deleted_is_not_made_anew(machine: Machine) -> None:
    machine.answer("ACTIVE", "ABSENT")
    machine.fail("255 smarttrim_jax.train")
    outcome = machine.run("tpu_vm.sh", "run", *SLICE, *PROGRAM)
    assert outcome.status == 255
    assert steps(outcome) == [*BEGIN, "ssh all"]


def test_a_step_of_the_setup_that_fails_ends_it(machine: Machine) -> None:
    machine.fail("4 scp")
    outcome = machine.run("tpu_vm.sh", "setup", "--name=trim")
    assert outcome.status == 4
    assert steps(outcome) == SETUP[:4]


def test_the_slices_of_a_run_of_several_know_of_each_other(machine: Machine) -> None:
    machine.answer("ACTIVE")
    outcome = machine.run("tpu_vm.sh", "run", *SLICE, "--num-slices=2", *PROGRAM)
    assert outcome.calls[-1][-1].endswith("--workdir=gs://bucket/trim --distributed=on")
    assert "--node=all" in outcome.calls[-1]


def test_arguments_and_variables_reach_the_program_and_secrets_no_command_line(machine: Machine) -> None:
    arguments = ["--config.text=two words", "it's", '"$HOME"', "*", "", "a\nb"]
    machine.answer("ACTIVE")
    python = machine.folder / "home" / "smarttrim" / ".venv" / "bin" / "python"
    machine.install(python)
    python.write_text(python.read_text().replace("\n{ printf", '\n{ printf \'%s\\037\' "$KEY" "$WORDS"; printf', 1))
    (machine.folder / "home" / "smarttrim" / "library").mkdir()
    (machine.folder / "secrets").write_text("# of mine\n\nKEY=it's $ecret=\nWORDS\n")
    machine.environment["WORDS"] = "from here"
    outcome = machine.run(
        *["tpu_vm.sh", "run", *SLICE, "--env-file=secrets", "--env=WORDS=x  y", "--module=other", "--", *arguments]
    )
    assert outcome.status == 0, outcome.stderr
    *called, last = outcome.calls
    assert last == ["it's $ecret=", "x  y", "python", "-m", "other", *arguments]
    assert not any("ecret" in word for call in called for word in call)
    assert (machine.folder / "home" / "smarttrim" / "environment").stat().st_mode & 0o777 == 0o600
