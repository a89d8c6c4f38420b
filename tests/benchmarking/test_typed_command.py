"""A command that is kept with figures can be typed again anywhere, and tells nothing of the machine or its user."""

import pathlib
import random
import shlex

import pytest
from forked_commands import ROOT

from smarttrim_jax.benchmarking.typed_command import as_typed

PROGRAM = "python -m smarttrim_jax.benchmark"
HOME = "/home/alice"


@pytest.fixture(autouse=True)
def _at_alices(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", HOME)
    monkeypatch.chdir(tmp_path)


def typed(*words: str, **environment: str) -> str:
    line = as_typed(PROGRAM, words, environment)
    assert line.startswith(PROGRAM) or environment
    return line.removeprefix(PROGRAM).lstrip()


@pytest.mark.parametrize(
    "word",
    [
        "--config=configs/benchmark.py:meter_base,224",
        "--keep=1,0.5,0.3",
        "--workdir=runs/quick",
        "--config.init_from=",
        "--config.data.options=rule=meter",
        "--topology=v5e:4x4",
        "--config.evaluation.metrics=coco_captions,package.module:Name",
        "--half=1/2",
        "runs/a/../b",
    ],
)
def test_what_is_typed_relative_stays_as_it_is(word: str) -> None:
    assert typed(word) == word


def test_folders_of_the_machine_are_cut(tmp_path: pathlib.Path) -> None:
    here = {
        "--workdir=/home/alice/secret/runs/quick": "--workdir=.../quick",
        "--workdir=/home/alice/secret/runs/quick/": "--workdir=.../quick",
        "--workdir=../../alice/quick": "--workdir=.../quick",
        "--workdir=/home/alice": "--workdir=~",
        "--config=/srv/mine.py:trim,source=/data/alice/vqa": "--config=.../mine.py:trim,source=.../vqa",
        f"--workdir={tmp_path}/runs/quick": "--workdir=runs/quick",
        f"--config={ROOT}/configs/easy_vqa.py:quick": "--config=configs/easy_vqa.py:quick",
        "--workdir=gs://alices-bucket/runs/quick": "--workdir=gs://.../quick",
        "--workdir=gs://alices-bucket": "--workdir=gs://...",
        "--input=https://alice:word@host/a/b.jsonl?c=d": "--input='https://.../b.jsonl?c=d'",
        "--api_key=abc": "'--api_key=***'",
    }
    for word, expected in here.items():
        assert shlex.split(typed(word)) == shlex.split(expected), word


def test_folders_above_all_homes_do_not_make_a_path_relative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert typed("--workdir=/home/alice/quick") == "--workdir=.../quick"


def test_where_it_is_written_does_not_belong_to_the_command() -> None:
    assert typed("--output=a.json", "--keep=1", "--output", "b.json", "--steps") == "--keep=1 --steps"
    assert typed("--outputs=a") == "--outputs=a"


def test_flags_of_the_compiler_belong_to_it() -> None:
    line = typed("--steps", XLA_FLAGS=" --xla_a=1 --xla_dump_to=/home/alice/dump  --xla_b=x", PATH="/home/alice/bin")
    assert line == f"XLA_FLAGS='--xla_a=1 --xla_dump_to=.../dump --xla_b=x' {PROGRAM} --steps"


def test_no_path_gets_through_whatever_stands_around_it() -> None:
    draw = random.Random(0)
    for _ in range(500):
        folders = ["home", "alice", *draw.sample(["my name", "a-b", "c.d", "é", "runs", "x_y"], draw.randint(0, 4))]
        path = "/" + "/".join([*folders, "last"])
        before = draw.choice(["", "--workdir=", "--config.init_from=", "a,", "a:", "see ", "'", '"'])
        line = typed(before + path + draw.choice(["", ",b", ":trim", "/", ";", "'"]))
        assert "alice" not in line, path
        assert "last" in line
        shlex.split(line)
