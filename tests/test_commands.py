"""The commands as a user meets them: wrong input is one sentence and a failing exit status."""

import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest
from forked_commands import ROOT

from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.reporting.page import build_page

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
    "unknown metric": ([EASY, "--config.evaluation.metrics=acuracy"], "there is no metric 'acuracy'"),
    "missing metric": ([EASY, "--config.evaluation.metrics=accuracy,no.such:One"], "cannot import 'no.such'"),
    "missing writer": ([EASY, "--config.schedule.writers=no.such:One"], "cannot import 'no.such'"),
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


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_sentence_and_a_failing_exit(
    fork: Any, experiment: ExperimentConfig, tmp_path: pathlib.Path, name: str
) -> None:
    config, *flags = WRONG[name][0]
    data = {f"--config.data.{key}": getattr(experiment.data, key) for key in ("source", "data_dir")}
    data |= dict(flag.split("=") for flag in flags)
    words = [config, *(f"{name}={value}" for name, value in data.items()), f"--workdir={tmp_path}"]
    status, stderr = fork("smarttrim_jax.train", words, name)
    assert status == 1, stderr
    assert "Traceback" not in stderr
    assert WRONG[name][1] in stderr


def test_a_forked_command_ends_as_one_that_a_user_calls(fork: Any, tmp_path: pathlib.Path) -> None:
    flags = [*WRONG["unknown key"][0], f"--workdir={tmp_path}"]
    process = start("smarttrim_jax.train", flags, tmp_path)
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 1
    assert fork("smarttrim_jax.train", flags, "forked") == (1, stderr)


def test_a_folder_without_a_run_is_named_by_every_command_that_wants_one(fork: Any, tmp_path: pathlib.Path) -> None:
    more = {
        "evaluate": [],
        "benchmark": [],
        "predict": ["--image=nowhere.png", "--text=is it red?"],
        "explain": [f"--output={tmp_path / 'page'}"],
        "convert": [f"--export={tmp_path / 'model.jaxexport'}"],
    }
    for command, flags in more.items():
        status, stderr = fork(f"smarttrim_jax.{command}", [f"--workdir={tmp_path}", *flags], command)
        assert status == 1, command
        assert stderr.startswith("error: "), stderr
        assert "no run" in stderr, stderr


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--search=photos"], "--search needs what to search for; give --text"),
        (["--search=photos", "--text=a dog", "--image=a.png"], "leave out --image and --input"),
        (["--image=a.png", "--text=a dog", "--index=a.safetensors"], "belong to a search; give --search=FOLDER"),
    ],
)
def test_a_search_says_which_flags_it_takes(fork: Any, tmp_path: pathlib.Path, flags: list[str], error: str) -> None:
    status, stderr = fork("smarttrim_jax.predict", [f"--workdir={tmp_path}", *flags], f"search{len(error)}")
    assert (status, stderr.count("\n")) == (1, 1)
    assert error in stderr


def test_explain_writes_over_nothing_but_its_own_pages(fork: Any, tmp_path: pathlib.Path) -> None:
    (tmp_path / "index.html").write_text("<title>mine</title>")
    flags = [f"--workdir={tmp_path}", f"--output={tmp_path}", "--image=a.png", "--text=is it red?"]
    status, stderr = fork("smarttrim_jax.explain", flags, "explain")
    assert (status, stderr.count("\n")) == (1, 1)
    assert "holds something else than this command's pages; choose another --output" in stderr
    (tmp_path / "index.html").write_text(build_page([], "before"))
    _, stderr = fork("smarttrim_jax.explain", flags, "again")
    assert "no run" in stderr


def test_convert_asks_for_what_it_shall_write(fork: Any, tmp_path: pathlib.Path) -> None:
    for index, flags in enumerate(([], ["--to=official"], ["--export=a", "--to=official", "--output=b.safetensors"])):
        status, stderr = fork("smarttrim_jax.convert", [f"--workdir={tmp_path}", *flags], f"convert{index}")
        assert status == 1
        assert stderr.startswith("error: say one thing to write: --export=FILE, or --to=official"), stderr


def test_importing_the_package_brings_no_other_framework() -> None:
    check = "import sys, smarttrim_jax; sys.exit(any(m in sys.modules for m in ('tensorflow', 'torch', 'grain')))"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True)
