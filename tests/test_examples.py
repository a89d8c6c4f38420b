"""The examples do what their first lines say."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
from forked_commands import ROOT, module_of
from raw_data import make_easy_vqa

from smarttrim_jax import load_model

pytestmark = pytest.mark.slow


def run(*words: str, status: int = 0) -> list[str]:
    """The lines that Python prints where it is started in the repository."""
    command = [sys.executable, *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stdout.splitlines()


def percentages(line: str) -> list[int]:
    return [int(number) for number in re.findall(r"(\d+)%", line)]


def test_a_folder_of_ones_own_is_learnt_and_asked(tmp_path: pathlib.Path) -> None:
    *_, accuracy, answer = run("examples/own_data.py", str(tmp_path))
    assert (tmp_path / "shapes" / "test.jsonl").exists()
    # A guess is right in 4 of 10 cases.
    assert min(percentages(accuracy)) >= 60
    assert answer == "what color is it? green"


def test_a_vision_transformer_of_ones_own_is_trimmed_and_packed() -> None:
    accuracy, saved, difference = run("examples/own_model.py")
    assert min(percentages(accuracy)) >= 80  # a guess: 17
    assert percentages(saved)[0] == pytest.approx(50, abs=3)
    assert float(difference.split()[-3]) <= 1e-4


def test_a_weight_file_is_tuned_in_a_loop_of_ones_own_and_its_folder_answers(tmp_path: pathlib.Path) -> None:
    first, *answered = run("examples/own_loop.py", str(tmp_path))
    right, saved = percentages(first)
    assert right >= 70  # a guess: 42
    assert saved == pytest.approx(33, abs=8)  # few examples, for which the dial was not measured
    example = module_of(ROOT / "examples" / "own_loop.py")
    pictures, questions, _ = example.draw(64, seed=example.STEPS + 1)
    model = load_model(tmp_path / "model")
    for picture, question, line in zip(pictures, questions, answered, strict=False):
        text = example.QUESTIONS[question]
        assert line.startswith(f"{text} {model.answer(picture, text)[0].answer} (right: ")


def test_a_policy_of_ones_own_is_better_than_chance_at_the_same_macs() -> None:
    lines = run("examples/own_policy.py")
    assert [line.split(":")[0] for line in lines] == ["full capacity", "unusual", "random"]
    full, unusual, random = (percentages(line)[0] for line in lines)
    assert full >= 80  # a guess: 42
    assert unusual >= random + 5
    for line in lines[1:]:
        assert float(line.split()[-3].removesuffix("x")) == pytest.approx(3, rel=0.06)


def test_a_sweep_of_ones_own_is_listed_run_and_gathered(tmp_path: pathlib.Path) -> None:
    sweep = ("-m", "smarttrim_jax.sweep", f"--config={ROOT / 'examples' / 'sweep.py'}", f"--root={tmp_path / 'runs'}")
    settings = [("random", "1.5"), ("random", "2.0"), ("learned", "1.5"), ("learned", "2.0")]
    for line, (policy, speedup) in zip(run(*sweep, "--print"), settings, strict=True):
        flags = f"--config.model.trimming.policy={policy} --config.cost.target_speedup={speedup}"
        assert line.endswith(flags)
    tiny = [f"--config.data.source={make_easy_vqa(tmp_path / 'raw')}", f"--config.data.data_dir={tmp_path / 'data'}"]
    run(*sweep, "--index=0", "--", *tiny, "--config.schedule.trim_steps=2", "--config.evaluation.batch_size=8")
    _, _, *rows = run(*sweep, "--gather", status=1)
    assert [tuple(row.split()[:2]) for row in rows] == settings
    assert [row.split()[-1] for row in rows] == ["done", "missing", "missing", "missing"]
    assert float(rows[0].split()[-2].removesuffix("x")) == pytest.approx(1.5, rel=0.1)
