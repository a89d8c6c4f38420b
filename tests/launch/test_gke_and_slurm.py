"""What xpk and Slurm are asked for, and what the program is started with."""

import pathlib
import shutil

import pytest
from launch_scripts import LAUNCH, ROOT, Machine, Outcome

CREATE = ["gke_xpk.sh", "create", "--cluster=c", "--type=v5e-256", "--image=i"]
ARGUMENTS = ["--config.text=two words", "it's", "$HOME", "--workdir=gs://b/run"]


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path, "xpk", "srun", "scontrol", "python")


def test_xpk_starts_the_program_with_its_arguments_and_passes_its_status_on(machine: Machine) -> None:
    (machine.folder / "home").mkdir()
    create = [*CREATE, "--", *ARGUMENTS]
    outcome = machine.run(*create)
    assert outcome.status == 0, outcome.stderr
    version, workload, program = outcome.calls
    assert version == ["xpk", "version"]
    assert workload[:4] == ["xpk", "workload", "create", "--workload=smarttrim"]
    assert program == ["python", "-m", "smarttrim_jax.train", *ARGUMENTS]
    machine.fail("5 workload")
    assert machine.run(*create).status == 5


def test_variables_reach_xpk_in_a_file_that_is_gone_afterwards(machine: Machine) -> None:
    xpk = machine.folder / "bin" / "xpk"
    keep = 'for each; do [[ $each != --env-file=* ]] || cp -p "${each#*=}" "$RECORD/kept"; done\n'
    xpk.write_text(xpk.read_text() + keep)
    (machine.folder / "secrets").write_text("KEY=it's $ecret=")
    outcome = machine.run(*CREATE, "--env-file=secrets", "--env=NAME=a b", "--", *ARGUMENTS)
    assert outcome.status == 0, outcome.stderr
    assert not any("ecret" in word or "a b" in word for call in outcome.calls for word in call)
    kept = machine.folder / "kept"
    assert kept.read_text() == "KEY=it's $ecret=\nNAME=a b\n"
    assert kept.stat().st_mode & 0o777 == 0o600
    (given,) = (word.removeprefix("--env-file=") for word in outcome.calls[-1] if word.startswith("--env-file="))
    assert not pathlib.Path(given).exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("A=1\nexport B=hidden", "line 2 of secrets is neither NAME=VALUE nor NAME nor a # comment"),
        ("\n# a\nNOT_SET_HERE\n", "line 3 of secrets names NOT_SET_HERE, which is not set here"),
    ],
)
def test_a_wrong_line_of_variables_is_named_and_not_shown(machine: Machine, text: str, sentence: str) -> None:
    (machine.folder / "secrets").write_text(text)
    outcome = machine.run(*CREATE, "--env-file=secrets", "--", *ARGUMENTS)
    assert outcome.status == 2
    assert sentence in outcome.stderr
    assert "hidden" not in outcome.stderr
    assert outcome.stderr.count("\n") == 1


@pytest.mark.parametrize(("version", "status"), [("v0.6.1", 2), ("0.7.0", 0), ("0.10.0", 0), ("1.16.0", 0), ("?", 2)])
def test_the_least_version_of_xpk_is_checked(machine: Machine, version: str, status: int) -> None:
    machine.environment["XPK_VERSION"] = version
    outcome = machine.run(*CREATE, "--", *ARGUMENTS)
    assert outcome.status == status
    if status:
        assert "0.7.0 is the least" in outcome.stderr or "names no version" in outcome.stderr
        assert [call[1] for call in outcome.calls] == ["version"]


def submit(machine: Machine, **variables: str) -> Outcome:
    """Runs the job as Slurm does: a copy of the script, elsewhere."""
    script = machine.folder / "slurm_script"
    shutil.copy(LAUNCH / "slurm.sbatch", script)
    machine.environment |= {"SLURM_SUBMIT_DIR": str(ROOT), "SLURM_JOB_ID": "17", "PYTHON": "python", **variables}
    return machine.run(script, "--", *ARGUMENTS)


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (143, True), (9, False)])
def test_a_slurm_job_is_queued_again_where_it_was_stopped(machine: Machine, status: int, requeued: bool) -> None:
    if status:
        machine.fail(f"{status} smarttrim_jax.train")
    outcome = submit(machine)
    assert outcome.status == status, outcome.stderr
    program = ["python", "-m", "smarttrim_jax.train", *ARGUMENTS]
    assert outcome.calls[0] == ["srun", "--kill-on-bad-exit=0", "--wait=120", *program]
    assert outcome.calls[1:] == ([["scontrol", "requeue", "17"]] if requeued else [])


@pytest.mark.parametrize(("tasks", "devices"), [("1", "0,1,2,3"), ("4", "None")])
def test_a_process_alone_on_its_slurm_node_takes_all_gpus(machine: Machine, tasks: str, devices: str) -> None:
    srun = machine.folder / "bin" / "srun"
    srun.write_text('#!/usr/bin/env bash\necho "${JAX_LOCAL_DEVICE_IDS:-None}"\n')
    outcome = submit(machine, SLURM_NTASKS_PER_NODE=tasks, SLURM_GPUS_ON_NODE="4")
    assert outcome.stdout.strip() == devices


def test_a_slurm_job_from_another_folder_is_one_sentence(machine: Machine) -> None:
    outcome = submit(machine, SLURM_SUBMIT_DIR=str(machine.folder))
    assert outcome.status == 2
    assert "call sbatch in the repository's root" in outcome.stderr
