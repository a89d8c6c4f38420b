"""What xpk and Slurm are asked for, and what the program is started with."""

import pathlib
import shutil

import pytest
from launch_scripts import LAUNCH, ROOT, Machine, Outcome

ARGUMENTS = ["--config.text=two words", "it's", "$HOME", "--workdir=gs://b/run"]


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path, "xpk", "srun", "scontrol", "python")


def test_xpk_starts_the_program_with_its_arguments_and_passes_its_status_on(machine: Machine) -> None:
    (machine.folder / "home").mkdir()
    create = ["gke_xpk.sh", "create", "--cluster=c", "--type=v5e-256", "--image=i", "--", *ARGUMENTS]
    outcome = machine.run(*create)
    assert outcome.status == 0, outcome.stderr
    assert outcome.calls[0][:4] == ["xpk", "workload", "create", "--workload=smarttrim"]
    assert outcome.calls[1] == ["python", "-m", "smarttrim_jax.train", *ARGUMENTS]
    machine.fail("5 workload")
    assert machine.run(*create).status == 5


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
