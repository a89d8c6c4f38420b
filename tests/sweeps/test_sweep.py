"""Several runs, one after another or at the same time, and their table."""

import csv
import importlib.util
import itertools
import json
import os
import pathlib
import random
import shlex
import subprocess
import sys
from typing import Any

import fsspec
import numpy as np
import pytest
from etils import epath
from forked_commands import ROOT

from smarttrim_jax import sweep
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.sweeps.plan import check_all, plan
from smarttrim_jax.sweeps.plot import write_plot
from smarttrim_jax.sweeps.table import Entry, lines_of, look_at, write_tables

# ml_collections loads config files by a method that Python 3.12 takes away.
pytestmark = pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")

CONFIG = """
from ml_collections import ConfigDict

from smarttrim_jax import HeadConfig, meter_tiny
from smarttrim_jax.configuration import to_dict
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.experiment import ExperimentConfig


def get_config(argument=""):
    model = meter_tiny(64, heads=(HeadConfig("vqa", "classifier", 0),))
    data = DataConfig(dataset="easy_vqa", image_size=64, text_length=12, batch_size=8)
    return ConfigDict(to_dict(ExperimentConfig(model=model, data=data)))


def sweep(argument=""):
    if argument == "untrimmed":
        yield {"model.trimming": None, "schedule.trim_steps": 0, "schedule.full_steps": 5}
        return
    key = argument or "cost.target_speedup"
    yield from ({key: value} for value in (1.5, 2.0, 3.0))
"""
MEMBERS = [f"cost.target_speedup={speedup}" for speedup in (1.5, 2.0, 3.0)]


@pytest.fixture
def flags(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of a sweep in `tmp_path` / "runs" with a stand-in for the program."""
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parent))
    monkeypatch.delitem(sys.modules, "config_config", raising=False)  # ml_collections loads the next file into it
    (tmp_path / "config.py").write_text(CONFIG)
    return [f"--config={tmp_path}/config.py", f"--root={tmp_path}/runs", "--module=sweep_program"]


def started(root: pathlib.Path) -> list[str]:
    """Speed-ups of the runs started since the last look."""
    file = root / "started"
    names = file.read_text().split() if file.exists() else []
    file.unlink(missing_ok=True)
    return [name.removeprefix("cost.target_speedup=") for name in names]


def test_a_failed_run_is_reported_and_run_again_while_the_others_are_kept(
    flags: list[str], tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "runs"
    assert sweep.main([*flags, "--", "--failing=2.0"]) == 1
    assert started(root) == ["1.5", "2.0", "3.0"]
    stdout, stderr = capfd.readouterr()
    assert stderr == "cost.target_speedup=2.0 (2 of 3): ended with status 3\n"
    assert [line.split() for line in stdout.splitlines()[-4:]] == [
        ["cost.target_speedup", "full", "accuracy", "trimmed", "accuracy", "asked", "MACs", "state"],
        ["1.5", "0.9000", "0.8000", "1.50x", "1.51x", "done"],
        ["2.0", "status", "3"],
        ["3.0", "0.9000", "0.8000", "3.00x", "3.01x", "done"],
    ]
    assert (root / "sweep.md").read_text().splitlines()[3] == "| 2.0 |  |  |  |  | status 3 |"
    entries = json.loads((root / "sweep.json").read_text())
    assert [entry["state"] for entry in entries] == ["done", "status 3", "done"]
    assert entries[0]["overrides"] == {"cost.target_speedup": 1.5}
    assert entries[0]["report"]["metrics"]["full"] == {"accuracy": 0.9}

    assert sweep.main([*flags, "--", "--failing=2.0"]) == 1
    assert started(root) == ["2.0"]


def test_finished_runs_are_run_again_with_other_flags_only(flags: list[str], tmp_path: pathlib.Path) -> None:
    for program, runs in (([], 3), ([], 0), (["--", "--config.seed=1"], 3)):
        assert sweep.main([*flags, *program]) == 0
        assert len(started(tmp_path / "runs")) == runs


def test_sigterm_is_passed_on_and_ends_the_sweep(flags: list[str], tmp_path: pathlib.Path) -> None:
    assert sweep.main([*flags, "--", "--behaviour=stopped"]) == 143
    assert started(tmp_path / "runs") == ["1.5"]
    entries = json.loads((tmp_path / "runs" / "sweep.json").read_text())
    assert [entry["state"] for entry in entries] == ["status 143", "waiting", "waiting"]


def test_commands_are_printed_as_a_shell_reads_them(
    flags: list[str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher = "--launcher=launch/local.sh --processes=2 --"
    assert sweep.main([*flags, "--print", launcher, "--", "--config.init_from=it's two words"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert shlex.split(lines[0]) == [
        *["launch/local.sh", "--processes=2", "--", flags[0]],
        f"--workdir={tmp_path}/runs/cost.target_speedup=1.5",
        *["--config.cost.target_speedup=1.5", "--config.init_from=it's two words"],
    ]
    assert started(tmp_path / "runs") == []


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("cost.target_spedup", "unknown config key 'config.cost.target_spedup'; did you mean 'target_speedup'?"),
        ("kosts.x", "unknown config key 'config.kosts'; did you mean 'cost'?"),
        ("seed.x", "config.seed is 0, no group of settings"),
        ("seed", "config.seed is 1.5; it must be a whole number"),
    ],
)
def test_overrides_that_cannot_be_taken_are_one_sentence_before_anything_runs(
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
    assert stderr.count("\n") == (3 if argument == "seed" else 1)  # a value each
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("config", "sentence"), [("no.py", "'no.py' is missing"), ("benchmark.py", "no function sweep()")]
)
def test_a_file_without_a_sweep_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, config: str, sentence: str
) -> None:
    monkeypatch.chdir(ROOT / "configs")
    assert sweep.main([f"--config={config}", "--root=runs"]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("variant", ["", "trim", "quick", "finetune", "blip"])
def test_easy_vqa_offers_a_sweep_of_what_its_variants_can_take(variant: str) -> None:
    config = "easy_vqa" + (f":{variant}" if variant else "")
    runs = plan(config, "runs", [sys.executable], [])
    check_all(runs, config, [], checks_all=True)
    key = "seed" if variant == "finetune" else "cost.target_speedup"
    assert [list(run.overrides) for run in runs] == 3 * [[key]]


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        (["--config.cost.target_spedup=2"], "did you mean --config.cost.target_speedup?"),
        (["--config.schedule.log_every=0"], "log_every is 0"),
        (["config.seed=3"], "unexpected argument 'config.seed=3'"),
        (["--conect_timeout=3"], "conect_timeout"),
        (["--connect_timeout=soon"], "connect_timeout"),
    ],
)
def test_what_training_refuses_is_refused_once_before_anything_runs(
    flags: list[str],
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    program: list[str],
    sentence: str,
) -> None:
    assert sweep.main([*flags[:2], "--", *program]) == 1
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: ")
    assert sentence in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("import nowhere", "ModuleNotFoundError"),
        ("get_config = None\ndef sweep(): raise KeyError('x')", "KeyError"),
        ("get_config = None\ndef sweep(): yield 3", "must yield dicts"),
        ("get_config = None\ndef sweep(): yield {1: 2}", "must yield dicts"),
        ("get_config = None\ndef sweep(): yield {'seed': object()}", "must be a plain value"),
        ("get_config = None\ndef sweep(): return 3", "TypeError"),
        ("get_config = None\ndef sweep(): return []", "yields nothing"),
        ("sweep = lambda: [{}]", "has no function get_config()"),
        ("sweep = lambda: [{}]\ndef get_config(): raise ValueError('mine')", "mine"),
        ("sweep = lambda: [{}]\ndef get_config(): return 3", "must return a ConfigDict"),
        ("def sweep(:", "line 1: invalid syntax"),
    ],
)
def test_a_config_file_that_fails_is_one_sentence(
    flags: list[str],
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    source: str,
    sentence: str,
) -> None:
    (tmp_path / "config.py").write_text(source)
    assert sweep.main(flags) == 1
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: ")
    assert sentence in stderr
    assert stderr.count("\n") == 1


def test_trimming_can_be_switched_off(
    flags: list[str], capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    assert sweep.main([f"{flags[0]}:untrimmed", *flags[1:], "--print"]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert "--config.model.trimming=None" in words
    assert f"--workdir={tmp_path}/runs/model.trimming=None,schedule.trim_steps=0,schedule.full_steps=5" in words


def test_members_run_at_the_same_time_from_processes_of_their_own(flags: list[str], tmp_path: pathlib.Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(pathlib.Path(__file__).parent)])}
    command = [sys.executable, str(ROOT / "launch" / "sweep.py"), *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    started_ones = [subprocess.Popen([*command, f"--index={index}"], **pipes) for index in (0, 1, 2, 1)]
    for process in started_ones:
        output = process.communicate(timeout=120)
        assert process.returncode == 0, output
    root = tmp_path / "runs"
    assert sorted(file.name for file in root.iterdir()) == [*MEMBERS, "started"]
    for member in MEMBERS:
        assert sorted(file.name for file in (root / member).iterdir()) == ["flags.json", "report.json"]


@pytest.mark.parametrize(("index", "status"), [(0, 0), (1, 3), (3, 1), (-1, 1)])
def test_an_index_runs_one_member_with_its_status(
    flags: list[str], tmp_path: pathlib.Path, index: int, status: int
) -> None:
    assert sweep.main([*flags, f"--index={index}", "--", "--failing=2.0"]) == status
    assert started(tmp_path / "runs") == (["1.5", "2.0"][index : index + 1] if index in (0, 1) else [])
    assert not (tmp_path / "runs" / "sweep.json").exists()


def test_gathering_runs_nothing_and_names_what_is_missing(
    flags: list[str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, table = tmp_path / "runs", tmp_path / "tables" / "speedups.csv"
    assert sweep.main([*flags, "--index=0"]) == 0
    started(root)
    (root / MEMBERS[2]).mkdir()
    (root / MEMBERS[2] / "config.json").write_text('{"schedule": {"full_steps": 1000, "trim_steps": 500}}')
    (root / MEMBERS[2] / "metrics.jsonl").write_text('{"step": 20}\n{"step": 40}\n')
    assert sweep.main([*flags, "--gather", f"--csv={table}"]) == 1
    assert started(root) == []
    stdout, stderr = capsys.readouterr()
    assert stderr == f"2 of 3 are not done: 1 {MEMBERS[1]}; 2 {MEMBERS[2]}\n"
    assert [line.split()[-1] for line in stdout.splitlines()[-3:]] == ["done", "missing", "1,500"]
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0] | {"folder": ""} == {
        "cost.target_speedup": "1.5",
        "accuracy_full": "0.9",
        "accuracy_trimmed": "0.8",
        "speedup_asked": "1.5",
        "speedup_macs": "1.51",
        "state": "done",
        "folder": "",
    }
    assert rows[2]["state"] == "unfinished, step 40 of 1,500"
    states = [entry["state"] for entry in json.loads((root / "sweep.json").read_text())]
    assert states == ["done", "missing", "unfinished, step 40 of 1,500"]
    assert sweep.main(flags) == 0
    assert started(root) == ["2.0", "3.0"]
    assert sweep.main([*flags, "--gather"]) == 0


def test_several_run_at_the_same_time_on_devices_of_their_own(flags: list[str], tmp_path: pathlib.Path) -> None:
    parallel = [*flags, "--parallel=2", "--devices=4,5,6,7", "--", "--behaviour=meet"]
    assert sweep.main([*parallel, "--failing=3.0"]) == 1
    assert sorted(started(tmp_path / "runs")) == ["1.5", "2.0", "3.0"]
    logs = [(tmp_path / "runs" / f"{member}.log").read_text() for member in MEMBERS]
    assert {logs[0], logs[1]} == {"devices 4,5\n", "devices 6,7\n"}
    entries = json.loads((tmp_path / "runs" / "sweep.json").read_text())
    assert [entry["state"] for entry in entries] == ["done", "done", "status 3"]


@pytest.mark.parametrize("words", [["--parallel=0"], ["--parallel=2", "--devices=0,1,2"], ["--devices="]])
def test_places_that_do_not_go_together_are_refused(
    flags: list[str], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert sweep.main([*flags, *words]) == 1
    assert capsys.readouterr().err.startswith("error: --")


def test_a_signal_ends_all_that_run_at_the_same_time(flags: list[str], tmp_path: pathlib.Path) -> None:
    assert sweep.main([*flags, "--parallel=2", "--", "--behaviour=stopped"]) == 143
    entries = json.loads((tmp_path / "runs" / "sweep.json").read_text())
    assert [entry["state"] for entry in entries] == ["status 143", "status 143", "waiting"]


def test_a_launcher_that_is_not_there_is_said(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main([*flags, "--launcher=/no/where", "--index=0"]) == 127
    assert "cannot start /no/where: No such file or directory" in capsys.readouterr().err


DAMAGES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"3",
    b'"x"',
    b"\xff\xfe",
    b"\x00" * 9,
    b"[" * 100_000,
    b"9" * 5000,
    b'{"accuracy": null}',
    b'{"accuracy": []}',
    b'{"accuracy": {"full": "x"}}',
    b'{"accuracy": {"full": NaN}, "schedule": 3}',
    b'{"metrics": null}',
    b'{"metrics": {"full": [0.5]}}',
    b'{"metrics": {"full": {"accuracy": {}}}, "primary": []}',
    b'{"metrics": {"full": {"accuracy": null, "x": 1}}, "primary": {}}',
    b'{"speedup": {"macs": [1]}, "schedule": {"full_steps": null, "trim_steps": 1}}',
    b'{"speedup": {"macs": true}, "step": {}}',
    b'{"accuracy": {"full": 1' + b"0" * 400 + b'}, "step": Infinity, "schedule": {"full_steps": Infinity}}',
    None,  # a folder in the file's place
]


def test_damaged_files_of_members_are_a_sentence_in_the_table(
    flags: list[str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(0)
    names = ["report.json", "config.json", "metrics.jsonl", "flags.json"]
    whole = {
        "report.json": b'{"primary": "accuracy", "metrics": {"full": {"accuracy": 0.9}}}',
        "config.json": b'{"schedule": {"full_steps": 10, "trim_steps": 5}}',
        "metrics.jsonl": b'{"step": 3}\n',
        "flags.json": b"[]",
    }
    for round_number in range(60):
        root = tmp_path / f"runs{round_number}"
        for member in MEMBERS:
            (root / member).mkdir(parents=True)
            for name in rng.sample(names, rng.randint(1, 4)):
                content = rng.choice(DAMAGES) if rng.random() < 0.7 else whole[name]
                if content is None:
                    (root / member / name).mkdir()
                elif rng.random() < 0.3:
                    (root / member / name).write_bytes(content[: rng.randint(0, len(content))])
                else:
                    (root / member / name).write_bytes(content)
        table = ["--gather", f"--csv={tmp_path}/table.csv"]
        assert sweep.main([flags[0], f"--root={root}", *table]) in (0, 1)
        for run in plan(flags[0].removeprefix("--config="), str(root), [], []):
            run.finished()
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 5
        json.loads((root / "sweep.json").read_text())


def test_every_metric_of_every_run_has_columns_and_the_primary_one_comes_first(
    flags: list[str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, table = tmp_path / "runs", tmp_path / "table.csv"
    several = {"full": {"words": 31.25, "recall": 0.5}, "trimmed": {"words": None, "recall": 0.25}}
    reports = [
        {"accuracy": {"full": 0.75}, "speedup": {"asked": 1.5}},  # as earlier versions wrote it
        {"primary": "recall", "metrics": several},
        {"primary": "accuracy", "metrics": {"full": {"accuracy": 0.625}}},
    ]
    for member, report in zip(MEMBERS, reports, strict=True):
        (root / member).mkdir(parents=True)
        (root / member / "report.json").write_text(json.dumps(report))
    assert sweep.main([*flags, "--gather", f"--csv={table}"]) == 0
    with table.open() as file:
        rows = list(csv.DictReader(file))
    metrics = ["accuracy_full", "accuracy_trimmed", "recall_full", "recall_trimmed", "words_full", "words_trimmed"]
    assert [*rows[0]][1:-4] == metrics
    assert [[row[name] for name in metrics] for row in rows] == [
        ["0.75", "", "", "", "", ""],
        ["", "", "0.5", "0.25", "31.25", ""],
        ["0.625", "", "", "", "", ""],
    ]
    assert ["1.5", "0.7500", "1.50x", "done"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    assert json.loads((root / "sweep.json").read_text())[0]["report"]["primary"] == "accuracy"


def test_a_damaged_report_is_made_anew(flags: list[str], tmp_path: pathlib.Path) -> None:
    assert sweep.main(flags) == 0
    started(tmp_path / "runs")
    (tmp_path / "runs" / MEMBERS[1] / "report.json").write_text('{"accuracy": 3}')
    assert sweep.main([*flags, "--gather"]) == 1
    entries = json.loads((tmp_path / "runs" / "sweep.json").read_text())
    assert entries[1]["state"] == "report.json is damaged (metrics is '3')"
    assert sweep.main(flags) == 0
    assert started(tmp_path / "runs") == ["2.0"]


def test_a_folder_name_fits_on_a_disk(tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.py").write_text(
        "get_config = None\ndef sweep():\n    for end in 'ab':\n        yield {'task': 300 * 'é' + end}\n"
    )
    runs = plan(f"{tmp_path}/config.py", str(tmp_path), [], [])
    names = [run.folder.name for run in runs]
    assert len(set(names)) == 2
    assert max(len(name.encode()) for name in names) < 255


def test_plugins_of_the_runs_are_imported_before_their_configurations_are_built(
    flags: list[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_policies.py").write_text(
        "import dataclasses\n"
        "from typing import Literal\n"
        "from smarttrim_jax import RandomPolicyConfig\n"
        "from smarttrim_jax.trimming import register_policy\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Config(RandomPolicyConfig):\n"
        "    policy: Literal['by_chance'] = 'by_chance'\n"
        "register_policy('by_chance', Config)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    program = ["--", "--config.model.trimming.policy=by_chance"]
    whole = [flags[0], flags[1], "--print"]
    assert sweep.main([*whole, *program]) == 1
    assert "--plugins" in capsys.readouterr().err
    assert sweep.main([*whole, *program, "--plugins=own_policies"]) == 0
    assert "--plugins=own_policies" in capsys.readouterr().out
    assert sweep.main([*whole, "--", "--plugins=no_such_module"]) == 1
    assert "cannot import 'no_such_module'" in capsys.readouterr().err


def test_a_root_that_is_no_folder_is_named(
    flags: list[str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.main([flags[0], "--root=", "--print"]) == 1
    assert sweep.main([flags[0], f"--root={tmp_path}/misspelt", "--gather"]) == 1
    empty, misspelt = capsys.readouterr().err.splitlines()
    assert empty.startswith("error: --root is empty")
    assert f"{tmp_path}/misspelt is no folder" in misspelt
    assert not (tmp_path / "misspelt").exists()


def test_runs_that_differ_in_their_seed_alone_have_means(tmp_path: pathlib.Path) -> None:
    entries = []
    scores = {(2.0, 0): 0.5, (2.0, 1): 0.75, (2.0, 2): None, (3.0, 0): 0.25}
    for (speedup, seed), score in scores.items():
        overrides = {"cost.target_speedup": speedup, "seed": seed}
        report = {"metrics": {"trimmed": {"accuracy": score}}, "primary": "accuracy", "speedup": {"asked": speedup}}
        folder = epath.Path(tmp_path / f"{speedup}_{seed}")
        folder.mkdir()
        if score is not None:
            (folder / "report.json").write_text(json.dumps(report))
        if seed == 0:
            rows = [("full", 1.0), ("padded", 9.0), ("packed", 1.5), ("one_program", 1.75)]
            speed = {"results": [{"execution": name, "speedup": value} for name, value in rows]}
            (folder / "speed.json").write_text(json.dumps(speed))
        entries.append(look_at(overrides, folder))
    lines = [line.split("  ") for line in lines_of(entries)]
    means = [[cell.strip() for cell in line if cell] for line in lines[lines.index([""]) + 1 :]]
    assert means == [
        ["cost.target_speedup", "runs", "full accuracy", "trimmed accuracy", "asked", "MACs", "time"],
        ["2.0", "2", "0.6250 ± 0.1768", "2.00x ± 0.00x", "1.75x"],
        ["3.0", "1", "0.2500", "3.00x", "1.75x"],
    ]
    write_tables(entries, epath.Path(tmp_path))
    assert "| 2.0 | 2 |" in (tmp_path / "sweep.md").read_text()
    for damage in ("{}", '{"results": [{"execution": "packed"}]}', '{"results": []}', "["):
        (folder / "speed.json").write_text(damage)
        assert "speed.json is damaged" in look_at(overrides, folder).state


def test_models_are_timed_once_when_all_runs_have_ended(
    flags: list[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "BENCHMARK", "speed_program")
    assert sweep.main([*flags, "--time=64"]) == 0
    table = capsys.readouterr().out
    assert started(tmp_path / "runs") == ["1.5", "2.0", "3.0", *["timed"] * 3]
    assert table.count("64.00x") == 3
    assert sweep.main([*flags, "--time=64"]) == 0
    assert started(tmp_path / "runs") == []
    figures = tmp_path / "figures.json"
    assert sweep.main([*flags, "--gather", f"--output={figures}"]) == 0
    content = json.loads(figures.read_text())
    assert {"machine", "commit", "command", "trained_by"} < set(content)
    assert content["results"][1] == {
        "target_speedup": 2.0,
        "full_accuracy": 0.9,
        "accuracy": 0.8,
        "asked": 2.0,
        "macs_speedup": 2.01,
        "realised_speedup": 64.0,
    }
    assert sweep.main([*flags, "--time=0"]) == 1
    assert "--time is 0; it is a number of examples, at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--csv={}/x.csv", "--output={}/x.json", "--plot={}/x.svg"])
@pytest.mark.parametrize(("folder", "sentence"), [("/proc/no", "cannot write '/proc/no/x."), ("gs://b", ".[gcs]")])
def test_a_file_that_cannot_be_written_is_told_before_anything_runs(
    flags: list[str],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flag: str,
    folder: str,
    sentence: str,
) -> None:
    monkeypatch.setattr(fsspec, "get_filesystem_class", missing_package)
    monkeypatch.setattr("smarttrim_jax.sweep.check_plot", lambda file: None)  # Matplotlib may not be installed
    assert sweep.main([*flags, flag.format(folder)]) == 1
    stderr = capsys.readouterr().err
    assert sentence in stderr
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def missing_package(protocol: str) -> None:
    raise ImportError(protocol)


def test_what_is_missing_is_told_where_nothing_can_be_drawn(
    flags: list[str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "runs").mkdir()
    assert sweep.main([*flags, "--gather", f"--plot={tmp_path}/x.svg"]) == 1
    missing, nothing = capsys.readouterr().err.splitlines()
    assert missing.startswith("3 of 3 are not done")
    assert nothing.startswith("error: there is nothing to draw")


def entries_of(tmp_path: pathlib.Path, timed: bool) -> list[Entry]:
    """Two policies at two budgets with two seeds each."""
    entries = []
    for number, (policy, asked, seed) in enumerate(itertools.product(("merge", "random"), (2.0, 3.0), (0, 1))):
        overrides = {"model.trimming.policy": policy, "cost.target_speedup": asked, "seed": seed}
        report = {
            "metrics": {"full": {"accuracy": 0.9}, "trimmed": {"accuracy": 0.8 - 0.01 * number}},
            "primary": "accuracy",
            "speedup": {"asked": asked, "macs": asked + 0.1 * seed} | ({"time": asked - 0.5} if timed else {}),
        }
        entries.append(Entry(overrides, epath.Path(tmp_path), "done", report))
    return entries


@pytest.mark.parametrize("timed", [False, True])
def test_a_plot_has_a_line_for_each_policy_through_the_means_of_its_budgets(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, timed: bool
) -> None:
    axes = pytest.importorskip("matplotlib.axes")
    lines, file = {}, epath.Path(tmp_path / "dial.svg")
    draw = axes.Axes.errorbar

    def noted(self: Any, x: Any, y: Any, y_spread: Any, x_spread: Any, **style: Any) -> Any:
        lines.setdefault(style["label"], []).append((x, y, y_spread, x_spread))
        return draw(self, x, y, y_spread, x_spread, **style)

    monkeypatch.setattr(axes.Axes, "errorbar", noted)
    write_plot(entries_of(tmp_path, timed), file)
    assert {name: len(pictures) for name, pictures in lines.items()} == {"merge": 1 + timed, "random": 1 + timed}
    found = np.asarray(lines["random"][0])
    deviation = 0.01 / 2**0.5
    np.testing.assert_allclose(found, [[2.05, 3.05], [0.755, 0.735], [deviation] * 2, [10 * deviation] * 2])
    if timed:
        np.testing.assert_allclose(lines["merge"][1][0], [1.5, 2.5])
    first = file.read_text()
    assert first.startswith("<?xml")
    assert all(word in first for word in ("merge", "random", "speed-up in MACs", "trimmed accuracy"))
    assert ("speed-up in time" in first) == timed
    write_plot(entries_of(tmp_path, timed), file)
    assert file.read_text() == first


def test_a_plot_that_cannot_be_drawn_is_refused_before_anything_runs(
    flags: list[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.main([*flags, f"--plot={tmp_path}/dial.png"]) == 1
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert sweep.main([*flags, f"--plot={tmp_path}/dial.svg"]) == 1
    kind, library = capsys.readouterr().err.splitlines()
    assert kind == f"error: --plot={tmp_path}/dial.png is no SVG file; its name must end in .svg"
    assert library == "error: --plot needs Matplotlib; pip install -e '.[plot]' brings it"
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ConfigError, match="there is nothing to draw"):
        write_plot([], epath.Path(tmp_path / "dial.svg"))
