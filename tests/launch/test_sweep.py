"""Several runs one after another, and their table."""

import importlib.util
import json
import pathlib
import shlex
import sys
from types import ModuleType

import pytest
from launch_scripts import LAUNCH, ROOT

CONFIG = """
from ml_collections import ConfigDict

from smarttrim_jax import HeadConfig, meter_tiny
from smarttrim_jax.configuration import to_dict
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.training.experiment import ExperimentConfig


def get_config(argument=""):
    model = meter_tiny(64, heads=(HeadConfig("vqa", "classifier", 0),))
    data = DataConfig(dataset="easy_vqa", image_size=64, text_length=12, batch_size=8)
    return ConfigDict(to_dict(ExperimentConfig(model=model, data=data)))


def sweep(argument=""):
    key = argument or "cost.target_speedup"
    yield from ({key: value} for value in (1.5, 2.0, 3.0))
"""


@pytest.fixture(scope="module")
def sweep() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sweep", LAUNCH / "sweep.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def flags(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of a sweep in `tmp_path` / "runs" with a stand-in for the program."""
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parent))
    (tmp_path / "config.py").write_text(CONFIG)
    return [f"--config={tmp_path}/config.py", f"--root={tmp_path}/runs", "--module=sweep_program"]


def started(root: pathlib.Path) -> list[str]:
    """Speed-ups of the runs started since the last look."""
    file = root / "started"
    names = file.read_text().split() if file.exists() else []
    file.unlink(missing_ok=True)
    return [name.removeprefix("cost.target_speedup=") for name in names]


def test_a_failed_run_is_reported_and_run_again_while_the_others_are_kept(
    sweep: ModuleType, flags: list[str], tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "runs"
    assert sweep.main([*flags, "--", "--failing=2.0"]) == 1
    assert started(root) == ["1.5", "2.0", "3.0"]
    stdout, stderr = capfd.readouterr()
    assert stderr == "cost.target_speedup=2.0 (2 of 3): ended with status 3\n"
    assert [line.split() for line in stdout.splitlines()[-4:]] == [
        ["cost.target_speedup", "full", "trimmed", "asked", "MACs", "state"],
        ["1.5", "90.00", "%", "80.00", "%", "1.50x", "1.51x", "done"],
        ["2.0", "status", "3"],
        ["3.0", "90.00", "%", "80.00", "%", "3.00x", "3.01x", "done"],
    ]
    assert (root / "sweep.md").read_text().splitlines()[3] == "| 2.0 |  |  |  |  | status 3 |"
    entries = json.loads((root / "sweep.json").read_text())
    assert [entry["state"] for entry in entries] == ["done", "status 3", "done"]
    assert entries[0]["overrides"] == {"cost.target_speedup": 1.5}
    assert entries[0]["report"]["accuracy"]["full"] == 0.9

    assert sweep.main([*flags, "--", "--failing=2.0"]) == 1
    assert started(root) == ["2.0"]


def test_finished_runs_are_run_again_with_other_flags_only(
    sweep: ModuleType, flags: list[str], tmp_path: pathlib.Path
) -> None:
    for program, runs in (([], 3), ([], 0), (["--", "--config.seed=1"], 3)):
        assert sweep.main([*flags, *program]) == 0
        assert len(started(tmp_path / "runs")) == runs


def test_sigterm_is_passed_on_and_ends_the_sweep(sweep: ModuleType, flags: list[str], tmp_path: pathlib.Path) -> None:
    assert sweep.main([*flags, "--", "--behaviour=stopped"]) == 143
    assert started(tmp_path / "runs") == ["1.5"]
    entries = json.loads((tmp_path / "runs" / "sweep.json").read_text())
    assert [entry["state"] for entry in entries] == ["status 143", "waiting", "waiting"]


def test_commands_are_printed_as_a_shell_reads_them(
    sweep: ModuleType, flags: list[str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher = "--launcher=launch/local.sh --processes=2 --"
    assert sweep.main([*flags, "--print", launcher, "--", "--config.text=it's two words"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert shlex.split(lines[0]) == [
        *["launch/local.sh", "--processes=2", "--", flags[0]],
        f"--workdir={tmp_path}/runs/cost.target_speedup=1.5",
        *["--config.cost.target_speedup=1.5", "--config.text=it's two words"],
    ]
    assert started(tmp_path / "runs") == []


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("cost.target_spedup", "unknown config key 'config.cost.target_spedup'; did you mean 'target_speedup'?"),
        ("kosts.x", "unknown config key 'config.kosts'; did you mean 'cost'?"),
        ("seed.x", "'seed' is no group of settings"),
        ("seed", "config.seed is 1.5; it must be a whole number"),
    ],
)
def test_overrides_that_cannot_be_taken_are_one_sentence_before_anything_runs(
    sweep: ModuleType,
    flags: list[str],
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    argument: str,
    sentence: str,
) -> None:
    assert sweep.main([f"{flags[0]}:{argument}", *flags[1:]]) == 1
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: sweep() of ")
    assert sentence in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("config", "sentence"), [("no.py", "'no.py' is missing"), ("benchmark.py", "no function sweep()")]
)
def test_a_file_without_a_sweep_is_one_sentence(
    sweep: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, config: str, sentence: str
) -> None:
    monkeypatch.chdir(ROOT / "configs")
    assert sweep.main([f"--config={config}", "--root=runs"]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("variant", ["", "trim", "quick", "finetune", "blip"])
def test_easy_vqa_offers_a_sweep_of_what_its_variants_can_take(sweep: ModuleType, variant: str) -> None:
    config = f"{ROOT}/configs/easy_vqa.py" + (f":{variant}" if variant else "")
    runs = sweep.plan(config, "runs", [sys.executable], [])
    key = "seed" if variant == "finetune" else "cost.target_speedup"
    assert [list(run.overrides) for run in runs] == 3 * [[key]]
