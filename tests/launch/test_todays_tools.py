"""The scripts' commands are those that today's xpk and gcloud take."""

import json
import pathlib
import shlex
import shutil
import subprocess

import pytest
from launch_scripts import Machine
from test_scripts import DRY_RUNS

# Of the released `gcloud compute tpus queued-resources` (neither alpha nor beta), by verb, from its reference pages:
# https://docs.cloud.google.com/sdk/gcloud/reference/compute/tpus/queued-resources
GCLOUD_FLAGS = {
    "create": """accelerator-type async boot-disk data-disk description guaranteed internal-ips labels metadata
        metadata-from-file network node-count node-id node-prefix range reservation-host-folder
        reservation-host-organization reservation-host-project reserved runtime-version scopes service-account
        shielded-secure-boot spot subnetwork tags topology type valid-after-duration valid-after-time
        valid-until-duration valid-until-time zone""",
    "delete": "async force zone",
    "describe": "zone",
    "ssh": """batch-size command dry-run force-key-file-overwrite internal-ip node output-directory plain
        ssh-flag ssh-key-expiration ssh-key-expire-after ssh-key-file strict-host-key-checking tunnel-through-iap
        worker zone""",
    "scp": """batch-size compress dry-run force-key-file-overwrite internal-ip node plain recurse scp-flag
        ssh-key-expiration ssh-key-expire-after ssh-key-file strict-host-key-checking tunnel-through-iap worker
        zone""",
}
# Of every command: https://docs.cloud.google.com/sdk/gcloud/reference
GCLOUD_WIDE_FLAGS = """access-token-file account billing-project configuration flags-file flatten format help
    impersonate-service-account log-http project quiet trace-token user-output-enabled verbosity"""
# Reads command lines as xpk does, and tells which exit statuses its workloads restart after.
XPK_PARSER = """
import argparse, json, sys
from xpk.commands.workload import get_restart_exit_codes
from xpk.parser.core import set_parser
parser = argparse.ArgumentParser(prog="xpk")
set_parser(parser=parser)
for line in json.load(sys.stdin):
    arguments = parser.parse_args(line)
    if hasattr(arguments, "restart_on_exit_codes"):
        print(json.dumps(get_restart_exit_codes(arguments)))
"""


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path)


def commands(machine: Machine, name: str) -> list[list[str]]:
    """What a dry run prints, as words."""
    arguments = DRY_RUNS[name]
    where = arguments.index("--") if "--" in arguments else len(arguments)
    outcome = machine.run(*arguments[:where], "--dry-run", *arguments[where:])
    assert outcome.status == 0, outcome.stderr
    return [shlex.split(line) for line in outcome.stdout.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("name", [name for name in DRY_RUNS if name.startswith("tpu_vm") and "check" not in name])
def test_gcloud_documents_every_flag(machine: Machine, name: str) -> None:
    called = [words for words in commands(machine, name) if words[0] == "gcloud"]
    assert called
    for _gcloud, one, two, three, verb, *words in called:
        assert [one, two, three] == ["compute", "tpus", "queued-resources"]
        flags = {word.removeprefix("--").split("=")[0] for word in words if word.startswith("--")}
        assert flags <= {*GCLOUD_FLAGS[verb].split(), *GCLOUD_WIDE_FLAGS.split()}, verb


def test_xpk_reads_the_commands_and_restarts_after_what_a_restart_helps(machine: Machine) -> None:
    xpk = shutil.which("xpk")
    if xpk is None:
        pytest.skip("xpk is not installed (pip install xpk, best in an environment of its own, on the PATH's end)")
    python = pathlib.Path(xpk).read_text().splitlines()[0].removeprefix("#!")
    names = [name for name in DRY_RUNS if name.startswith("gke")]
    lines = [words[1:] for name in names for words in commands(machine, name) if words[0] == "xpk"]
    assert {line[1] for line in lines} == {"create", "list", "delete"}
    parsed = subprocess.run([python, "-c", XPK_PARSER], input=json.dumps(lines), capture_output=True, text=True)
    assert parsed.returncode == 0, parsed.stderr
    (statuses,) = map(json.loads, parsed.stdout.splitlines())
    lost, aborted, killed, saved, interrupted = 75, 134, 137, 143, 130
    assert {lost, aborted, killed, saved, interrupted} <= set(statuses)
    assert not {0, 1, 2} & set(statuses)
