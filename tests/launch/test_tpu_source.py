"""What is sent to a TPU slice, and that every installation of a run is the same."""

import json
import pathlib
import subprocess
import tarfile

import pytest
from launch_scripts import Machine, Outcome

SLICE = ["--name=trim", "--type=v6e-8"]
PROGRAM = ["--", "--workdir=gs://bucket/run"]
# Stands for the machines' Python: pip and uv tell what they were asked for; another version is out at every look.
PYTHON3 = """#!/usr/bin/env bash
{ printf '%s\\037' python3 "$@"; printf '\\036'; } >>"$RECORD/calls"
[[ $* != *'pip freeze'* ]] || { echo "jax==0.$(wc -l <"$RECORD/looks")"; echo >>"$RECORD/looks"; }
[[ $* != *'uv venv'* ]] || { mkdir -p .venv/bin; cp "$RECORD/bin/gcloud" .venv/bin/python; }
"""


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    machine = Machine(tmp_path, "gcloud")
    (tmp_path / "home").mkdir()
    (tmp_path / "looks").touch()
    python = tmp_path / "bin" / "python3"
    python.write_text(PYTHON3)
    python.chmod(0o755)
    return machine


@pytest.fixture
def project(tmp_path: pathlib.Path) -> pathlib.Path:
    """A repository that has a configuration and needs a package."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "config.py").write_text("first")
    (folder / "requirements.txt").write_text("a-package")
    (folder / ".gitignore").write_text("ignored.py\n")
    (folder / "ignored.py").touch()
    git(folder, "init", "--quiet")
    commit(folder)
    return folder


def git(folder: pathlib.Path, *words: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: pathlib.Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=a commit")


def installs(outcome: Outcome) -> list[list[str]]:
    return [call for call in outcome.calls if call[:5] == ["python3", "-m", "uv", "pip", "install"]]


def test_a_project_is_sent_beside_the_library_and_runs_where_it_lies(machine: Machine, project: pathlib.Path) -> None:
    outcome = machine.run("tpu_vm.sh", "setup", f"--source={project}")
    assert outcome.status == 0, outcome.stderr
    there = machine.folder / "home" / "smarttrim"
    assert sorted(file.name for file in (there / "project").iterdir()) == [
        ".gitignore",
        "config.py",
        "requirements.txt",
    ]
    assert (there / "library" / "smarttrim_jax" / "train.py").exists()
    (install,) = installs(outcome)
    assert install[-4:] == ["--editable", "./library[tpu,demo]", "--requirements", "project/requirements.txt"]
    versions = json.loads((there / "launch" / "versions.json").read_text())
    assert versions["project"] == git(project, "rev-parse", "HEAD")
    assert versions["python"] == "3.12"
    machine.answer("ACTIVE")
    (there / ".venv" / "bin" / "python").write_text('#!/bin/sh\npwd >"$RECORD/folder"')
    assert machine.run("tpu_vm.sh", "run", *SLICE, *PROGRAM).status == 0
    assert (machine.folder / "folder").read_text().strip() == str(there / "project")


def test_what_is_not_committed_is_named_and_sent_where_asked(machine: Machine, project: pathlib.Path) -> None:
    (project / "config.py").write_text("changed")
    (project / "new config.py").write_text("new")
    (project / "requirements.txt").unlink()
    there = machine.folder / "home" / "smarttrim" / "project"
    outcome = machine.run("tpu_vm.sh", "setup", f"--source={project}")
    assert (
        f"not in the last commit of {project} and not sent: config.py requirements.txt new config.py "
        "(--working-tree sends them)"
    ) in outcome.stderr
    assert (there / "config.py").read_text() == "first"
    outcome = machine.run("tpu_vm.sh", "setup", f"--source={project}", "--working-tree")
    assert str(project) not in outcome.stderr
    assert (there / "config.py").read_text() == "changed"
    assert sorted(file.name for file in there.iterdir()) == [".gitignore", "config.py", "new config.py"]
    assert json.loads((there.parent / "launch" / "versions.json").read_text())["project"].endswith("+changes")
    assert git(project, "status", "--short").splitlines()[0] == "M config.py"  # the user's index is as it was


@pytest.mark.parametrize("flags", [[], ["--working-tree"]])
def test_a_folder_of_a_repository_is_sent_alone(machine: Machine, project: pathlib.Path, flags: list[str]) -> None:
    (project / "part" / "deep").mkdir(parents=True)
    (project / "part" / "deep" / "a.py").touch()
    commit(project)
    (project / "part" / "b.py").touch()
    outcome = machine.run("tpu_vm.sh", "setup", f"--source={project}/part", *flags)
    assert outcome.status == 0, outcome.stderr
    archive = machine.folder / "home" / "smarttrim" / "launch" / "project.tar.gz"
    with tarfile.open(archive) as tar:
        names = {name for name in tar.getnames() if name.endswith(".py")}
    assert names == {"deep/a.py", *(["b.py"] if flags else [])}


def test_a_folder_without_git_is_sent_whole(machine: Machine, tmp_path: pathlib.Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "config.py").touch()
    assert machine.run("tpu_vm.sh", "setup", f"--source={tmp_path}/plain").status == 0
    assert (tmp_path / "home" / "smarttrim" / "project" / "config.py").exists()


def test_a_new_slice_gets_the_code_and_the_versions_that_the_run_began_with(
    machine: Machine, project: pathlib.Path
) -> None:
    assert machine.run("tpu_vm.sh", "setup", f"--source={project}").status == 0
    machine.answer("ACTIVE", "SUSPENDED", "SUSPENDED", "ACTIVE")
    machine.fail("255 smarttrim_jax.train")
    (project / "config.py").write_text("second")
    commit(project)
    outcome = machine.run("tpu_vm.sh", "run", *SLICE, f"--source={project}", *PROGRAM)
    assert outcome.status == 0, outcome.stderr
    there = machine.folder / "home" / "smarttrim"
    record = machine.folder / "bucket" / "bucket" / "run" / "launch"
    assert (there / "project" / "config.py").read_text() == "first"
    first, second = installs(outcome)
    assert second == [*first, "--constraints", "launch/requirements.lock"]
    for folder in (there / "launch", record):
        assert (folder / "requirements.lock").read_text() == "jax==0.0\n"
        assert json.loads((folder / "versions.json").read_text())["project"] == git(project, "rev-parse", "HEAD~1")


def test_a_run_does_not_go_on_with_other_versions_unless_told_so(machine: Machine) -> None:
    machine.answer("ACTIVE")
    record = machine.folder / "bucket" / "bucket" / "run" / "launch" / "requirements.lock"
    run = ["tpu_vm.sh", "run", *SLICE]
    assert machine.run("tpu_vm.sh", "setup").status == 0
    assert machine.run(*run, *PROGRAM).status == 0
    assert machine.run(*run, *PROGRAM).status == 0
    assert machine.run("tpu_vm.sh", "setup").status == 0
    trained = machine.calls().count(["python", "-m", "smarttrim_jax.train", PROGRAM[1]])
    outcome = machine.run(*run, *PROGRAM)
    assert outcome.status == 1
    assert "gs://bucket/run began with other versions than trim has; --versions=recorded" in outcome.stderr
    assert outcome.calls.count(["python", "-m", "smarttrim_jax.train", PROGRAM[1]]) == trained == 2
    assert machine.run(*run, "--versions=recorded", *PROGRAM).status == 0
    installed = machine.folder / "home" / "smarttrim" / "launch" / "requirements.lock"
    assert installed.read_text() == record.read_text() == "jax==0.0\n"
    assert machine.run("tpu_vm.sh", "setup").status == 0
    assert machine.run(*run, "--versions=new", *PROGRAM).status == 0
    assert installed.read_text() == record.read_text() == "jax==0.2\n"


def test_a_run_on_a_slice_that_is_not_set_up_is_one_sentence(machine: Machine) -> None:
    machine.answer("ACTIVE")
    outcome = machine.run("tpu_vm.sh", "run", *SLICE, *PROGRAM)
    assert outcome.status == 1
    assert outcome.stderr.endswith("error: trim is not set up; run setup first\n")
