"""The commands as a user meets them: wrong input is one sentence and a failing exit status."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
EASY = "--config=configs/easy_vqa.py:quick"

# Flags of the command, and what its one sentence must name.
WRONG = {
    "unknown key": ([EASY, "--config.optimizer.lerning_rate=1"], "lerning_rate"),
    "wrong type": ([EASY, "--config.optimizer.learning_rate=fast"], "learning_rate"),
    "wrong choice": ([EASY, "--config.cost.kind=joules"], "config.cost.kind"),
    "speed-up below 1": ([EASY, "--config.cost.target_speedup=0.5"], "target_speedup is 0.5"),
    "unknown variant": (["--config=configs/easy_vqa.py:quik"], "quik"),
    "missing config": (["--config=configs/nothing.py"], "configs/nothing.py"),
    "missing data": (["--config=configs/nlvr.py", "--config.data.source=nowhere"], "nowhere"),
    "missing vocabulary": ([EASY, "--config.data.tokenizer=nowhere.txt"], "nowhere.txt"),
    "missing start": ([EASY, "--config.init_from=nowhere"], "nowhere"),
    "missing weights": (
        [EASY, "--config.init_from=nowhere.safetensors"],
        "weight file 'nowhere.safetensors' is missing",
    ),
}


def start(module: str, flags: list[str], folder: pathlib.Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-m", module, *flags], cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE
    )


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Exit status and standard error of every wrong call, a few at a time."""
    folder, results = tmp_path_factory.mktemp("commands"), {}
    names = list(WRONG)
    for first in range(0, len(names), 3):
        running = {
            name: start("smarttrim_jax.train", [*WRONG[name][0], f"--workdir={folder / name}"], folder)
            for name in names[first : first + 3]
        }
        for name, process in running.items():
            _, stderr = process.communicate(timeout=120)
            results[name] = process.returncode, stderr
    return results


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_sentence_and_a_failing_exit(failures: dict[str, tuple[int, str]], name: str) -> None:
    status, stderr = failures[name]
    assert status == 1, stderr
    assert "Traceback" not in stderr
    assert WRONG[name][1] in stderr


def test_a_folder_without_a_run_is_named_by_every_command_that_wants_one(tmp_path: pathlib.Path) -> None:
    more = {
        "evaluate": [],
        "benchmark": [],
        "predict": ["--image=nowhere.png", "--text=is it red?"],
        "explain": [f"--output={tmp_path / 'page'}"],
        "convert": [f"--export={tmp_path / 'model.jaxexport'}"],
    }
    running = {
        command: start(f"smarttrim_jax.{command}", [f"--workdir={tmp_path}", *flags], tmp_path)
        for command, flags in more.items()
    }
    for command, process in running.items():
        _, stderr = process.communicate(timeout=240)
        assert process.returncode == 1, command
        assert stderr.startswith("error: "), stderr
        assert "no run" in stderr, stderr


def test_convert_asks_for_what_it_shall_write(tmp_path: pathlib.Path) -> None:
    for flags in ([], ["--to=official"], ["--export=a", "--to=official", "--output=b.safetensors"]):
        process = start("smarttrim_jax.convert", [f"--workdir={tmp_path}", *flags], tmp_path)
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 1
        assert stderr.startswith("error: say what to write: --export=FILE, or --to=official"), stderr


def test_importing_the_package_brings_no_other_framework() -> None:
    check = "import sys, smarttrim_jax; sys.exit(any(m in sys.modules for m in ('tensorflow', 'torch', 'grain')))"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True)
