"""How a command ends: quietly, or with one sentence and a status that says what happened."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

COMMAND = pathlib.Path(__file__).with_name("example_command.py")
ROOT = COMMAND.parents[2]


def start(*words: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(COMMAND), *words],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(*words: str, **environment: str) -> tuple[int, str, str]:
    process = start(*words, **environment)
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout.decode(), stderr.decode()


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        ("input", "error: a file is missing\n"),
        ("memory", "error: this machine's memory is full; choose a smaller batch or model\n"),
        ("device", "error: the device's memory is full (RESOURCE_EXHAUSTED: "),
        ("system", "error: File name too long: 'nnn"),
    ],
)
def test_what_is_not_our_fault_is_one_sentence(end: str, sentence: str) -> None:
    status, stdout, stderr = run(f"--end={end}")
    assert status == 1
    assert stdout.startswith("begun\n")
    assert stderr.startswith(sentence)
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("end", ["bug", "pipe"])
def test_what_is_our_fault_is_a_traceback_that_asks_to_be_reported(end: str) -> None:
    status, _, stderr = run(f"--end={end}")
    assert status == 1
    assert stderr.startswith("Traceback")
    assert "please report it" in stderr.splitlines()[-1]


def test_control_c_is_one_line() -> None:
    process = start("--end=wait")
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, b"stopped by Ctrl-C\n")


@pytest.mark.parametrize("words", [["--count=100000"], ["--help"]])
def test_a_reader_that_has_seen_enough_ends_it_quietly(words: list[str]) -> None:
    process = start(*words)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr as stderr:
        assert stderr.read() == b""
    assert process.wait() == 141


def test_a_disk_that_is_full_is_one_sentence() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [sys.executable, str(COMMAND)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    sentence = "error: No space left on device; make room where standard output goes\n"
    assert (process.returncode, process.stderr) == (1, sentence)


def test_a_terminal_that_knows_ascii_alone_is_printed_to() -> None:
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    assert run(PYTHONIOENCODING="ascii") == (0, "begun\nGr??e ??\n", "")
    assert run(**plain) == (0, "begun\nGr??e ??\n", "")


def test_help_shows_an_example_and_only_our_own_flags() -> None:
    status, stdout, stderr = run("--help")
    assert (status, stderr) == (0, "")
    lines = stdout.splitlines()
    assert lines[2] == "python example_command.py --end=well"
    flags = [line.strip() for line in lines if line.startswith("  --")]
    own, shared = ["--end", "--count", "--[no]loud"], ["--connect_timeout", "--heartbeat_timeout", "--plugins"]
    assert flags == [*own, "--distributed", *shared]
