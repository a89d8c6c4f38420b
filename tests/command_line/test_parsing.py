"""Words that are no flags, flags that there are not, and values that they do not take: what to write instead."""

import pathlib
import types
from typing import Annotated, Any, Literal

import pytest
from forked_commands import WORK_BEGINS, command_server, run_forked, stop_at_work

from smarttrim_jax.command_line.typed_flags import from_text
from smarttrim_jax.ranges import PositiveInt, SpeedUp, not_empty
from smarttrim_jax.trimming.config import TrimmingConfig

EASY = ["--config=configs/easy_vqa.py:quick", "--workdir=run"]
MODEL = ["--config=configs/benchmark.py:meter_tiny"]
SAID = {
    "train": [
        ([*EASY, "config.seed=3"], "unexpected argument 'config.seed=3'; did you mean --config.seed=3?"),
        ([*EASY, "\N{EN DASH}config.seed=3"], "did you mean --config.seed=3?"),
        ([*EASY, "seed=3"], "unexpected argument 'seed=3'; did you mean --config.seed=3?"),
        ([*EASY, "--config.sed=3"], "unknown flag --config.sed; did you mean --config.seed?"),
        ([*EASY, "--learning_rate=3"], "did you mean --config.optimizer.learning_rate?"),
        ([*EASY, "--config.optimiser.lerning_rate=3"], "did you mean --config.optimizer.learning_rate?"),
        ([*EASY, "--config.seed=abc"], "--config.seed is 'abc'; it must be a whole number"),
        ([*EASY, "--config.data.batch_size=1e3"], "--config.data.batch_size is '1e3'; it must be a whole number"),
        ([*EASY, "--config.seed=1", "--config.seed=1"], "--config.seed is given 2 times; give it once"),
        ([*EASY, "--config.data=easy"], "--config.data is 'easy'; it must be a group of settings"),
        ([*EASY, "--config.model=None"], "--config.model is None; it must be a group of settings\n"),
        (
            [*EASY, "--config.model.features=3"],
            "unknown config key 'config.model.features'; known keys: attention",
        ),
        ([*EASY, "--config.evaluation.speedups=2,x"], "--config.evaluation.speedups[1] is 'x'; it must be a number"),
        (
            [*EASY, "--config.model.trimming=None"],
            "trim_steps asks for trimming, but model.trimming is None",
        ),
        ([EASY[0]], "--workdir is missing; --help shows an example"),
        ([EASY[0], "--workdir="], "--workdir is ''; it must be a path"),
        ([EASY[0], "--workdir=s3://bucket/run"], "--workdir is 's3://bucket/run'; it must be a path on a disk or"),
        ([EASY[0], "--workdir=file:///run"], "--workdir is 'file:///run'; it must be a path on a disk or"),
        ([EASY[0], "--workdir=" + "n" * 256], "in names of at most 255 bytes"),
        (["--config=", EASY[1]], "config file '' is missing"),
        ([*EASY, "--"], ""),
    ],
    "predict": [
        (
            ["--workdir=run", "--text=is", "it", "blue?"],
            "of several words needs quotes: --text='is it blue?'",
        ),
        (["--workdir=run", "--text", "is", "it", "blue?"], "needs quotes: --text='is it blue?'"),
        (
            ["--workdir=run", "--config=configs/easy_vqa.py"],
            "unknown flag --config; this command takes --",
        ),
        (["--workdir=run", "--speedup=nan"], "--speedup is nan; it must be a finite number"),
        (["--workdir=run", "--speedup=0.5"], "--speedup is 0.5; it must be between 1 and 1000"),
        (["--workdir"], "Missing value for flag --workdir"),
        (["--workdir=run", "-"], "unexpected argument '-'; --help shows an example"),
    ],
    "evaluate": [(["--workdir=run", "--unfinished", "true"], "did you mean --unfinished=true?")],
    "benchmark": [
        ([*MODEL, "--repeats=0"], "--repeats is 0; it must be at least 1"),
        ([*MODEL, "--batch_sizes=0,-1,x"], "--batch_sizes[0] is 0; it must be at least 1"),
        ([*MODEL, "--batch_sizes="], "--batch_sizes is (); it must be not empty"),
        ([*MODEL, "--keep=nan"], "--keep[0] is nan; it must be a finite number"),
        ([*MODEL, "--keep=1.5"], "--keep[0] is 1.5; it must be above 0 and at most 1"),
        ([*MODEL, "--against=jax"], "--against is 'jax'; accepted: 'torch'"),
    ],
    "aot": [([*MODEL, "--topology=v5e:2x2", "--batch_size=-1"], "--batch_size is -1; it must be at least 0")],
}


@pytest.mark.parametrize("command", SAID)
def test_mistakes_are_one_sentence_that_shows_how_it_is_written(fork: Any, command: str) -> None:
    for index, (words, sentence) in enumerate(SAID[command]):
        status, stderr = fork(f"smarttrim_jax.{command}", words, f"{command}{index}", stop_at_work)
        if not sentence:
            assert (status, stderr) == (WORK_BEGINS, "")
            continue
        assert status == 1, stderr
        assert stderr.startswith("error: "), stderr
        assert stderr.count("\n") == 1, stderr
        assert sentence in stderr


def print_the_configuration() -> None:
    """In place of training."""
    from smarttrim_jax.training import run

    def show(config: Any, workdir: str, config_file: str) -> None:
        raise SystemExit(f"{config.model.trimming} {config.evaluation.speedups} {config.model.scan} {config.seed}")

    run.train = show


def test_keys_take_none_lists_groups_and_switches(fork: Any, tmp_path: pathlib.Path) -> None:
    words = [*EASY, "--config.schedule.trim_steps=0", "--config.model.trimming=None"]
    words += ["--config.evaluation.speedups=(2, 3)", "--config.model.scan", "--config.seed", "7"]
    assert fork("smarttrim_jax.train", words, "off", print_the_configuration) == (1, "None (2.0, 3.0) True 7\n")

    file = tmp_path / "plain.py"
    file.write_text(
        "from configs.easy_vqa import get_config as easy\n"
        "def get_config():\n    config = easy('quick')\n    config.model.trimming = None\n    return config\n"
    )
    plain = [f"--config={file}", EASY[1], "--config.evaluation.speedups=2", "--noconfig.model.scan"]
    everywhere = f"{TrimmingConfig()} (2.0,) False 0\n"
    assert fork("smarttrim_jax.train", [*plain, "--config.model.trimming={}"], "on", print_the_configuration) == (
        1,
        everywhere,
    )
    hidden = [*plain, "--config.model.trimming.policy.hidden=64"]
    assert fork("smarttrim_jax.train", hidden, "key", print_the_configuration) == (1, everywhere)


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (int, "12", 12),
        (int, "1e3", "1e3"),
        (float, "1e3", 1000.0),
        (float, "3", 3.0),
        (bool, "true", True),
        (bool, "2", "2"),
        (str, "None", "None"),
        (PositiveInt | None, "None", None),
        (PositiveInt | None, "3", 3),
        (bool | Literal["never"], "never", "never"),
        (bool | Literal["never"], "false", False),
        (PositiveInt | Literal[-1], "-1", -1),
        (tuple[float, ...], "1.5,2", [1.5, 2.0]),
        (tuple[float, ...], " [1.5, 2] ", [1.5, 2]),
        (tuple[float, ...], "(2,)", (2,)),
        (tuple[float, ...], "", []),
        (Annotated[tuple[SpeedUp, ...], not_empty], "2", [2.0]),
        (TrimmingConfig | None, "{'image': {}}", {"image": {}}),
        (TrimmingConfig, "{'image", "{'image"),
        (TrimmingConfig, "(" * 1000, "(" * 1000),
        (types.NoneType | float, "x", "x"),
    ],
    ids=lambda value: type(value).__name__,  # rules show where they lie in memory, which differs between processes
)
def test_texts_stand_for_values_of_the_annotated_type(hint: Any, text: str, value: Any) -> None:
    assert from_text(hint, text.strip() if text.startswith(" ") else text) == value


def test_help_explains_every_key_of_a_configuration(tmp_path: pathlib.Path) -> None:
    words = [EASY[0], "--config.seed=5", "--config.model.trimming={}", "--help"]
    file = tmp_path / "help.stderr"
    assert run_forked(command_server(), "smarttrim_jax.train", words, file) == (0, "")
    page = file.with_suffix(".stdout").read_text()
    title, _, example = page.splitlines()[:3]
    assert title == "Trains, calibrates and evaluates one experiment."
    assert example.startswith("    python -m smarttrim_jax.train --config=")
    assert "  --config.seed=5\n      Seed of the initial weights" in page
    assert "  --config.evaluation.speedups='[1.5, 2.0, 2.5, 3.0]'\n" in page
    assert "Takes a whole number, at least 1." in page
