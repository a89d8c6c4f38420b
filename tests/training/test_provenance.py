"""What a run is made by is recorded at each of its starts, and never stops it."""

import json
import pathlib
import subprocess

import jax
import pytest

from smarttrim_jax.training import provenance
from smarttrim_jax.training.provenance import ENVIRONMENT, describe_start, git_state, record_start, without_secrets
from smarttrim_jax.version import __version__


def git(folder: pathlib.Path, *words: str) -> str:
    settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *settings, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def config_file(tmp_path: pathlib.Path) -> pathlib.Path:
    """A file in a repository, committed."""
    folder = tmp_path / "repository" / "configs"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text("a = 1\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    return folder / "mine.py"


def test_the_commit_is_that_of_the_file_and_changes_are_seen(config_file: pathlib.Path) -> None:
    commit = git(config_file.parent, "rev-parse", "HEAD")
    assert git_state(config_file) == {"commit": commit, "dirty": False}
    (config_file.parent / "untracked.py").write_text("b = 1\n")
    assert git_state(config_file) == {"commit": commit, "dirty": False}
    assert git_state(config_file.parent / "untracked.py") is None
    config_file.write_text("a = 2\n")
    assert git_state(config_file) == {"commit": commit, "dirty": True}


def test_where_there_is_no_repository_or_no_git_nothing_is_known(
    config_file: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alone.py").write_text("")
    assert git_state(tmp_path / "alone.py") is None
    assert git_state(tmp_path / "nowhere" / "file.py") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(config_file) is None
    assert describe_start(0)["versions"]["smarttrim_jax"] == __version__


def test_every_start_adds_an_entry(config_file: pathlib.Path, tmp_path: pathlib.Path) -> None:
    record_start(tmp_path, 0, str(config_file))
    record_start(tmp_path, 7)
    first, second = json.loads((tmp_path / ENVIRONMENT).read_text())["starts"]
    assert (first["step"], second["step"]) == (0, 7)
    assert first["git"]["config"] == git_state(config_file)
    assert "config" not in second["git"]
    assert first["versions"].keys() == {"python", "smarttrim_jax", *provenance.PACKAGES}
    assert None not in first["versions"].values()
    assert first["devices"]["platform"] == jax.default_backend()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"starts": 3}', b"\xff"])
def test_a_damaged_file_is_begun_anew(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / ENVIRONMENT).write_bytes(content)
    record_start(tmp_path, 3)
    assert [start["step"] for start in json.loads((tmp_path / ENVIRONMENT).read_text())["starts"]] == [3]


def test_whatever_fails_is_a_warning(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record_start(tmp_path / "nowhere", 0)

    def fail(words: object) -> None:
        raise RuntimeError("no words")

    monkeypatch.setattr(provenance, "without_secrets", fail)
    record_start(tmp_path, 0)
    assert len(caplog.messages) == 2
    assert all(said.startswith("cannot say in environment.json") for said in caplog.messages)
    assert not (tmp_path / ENVIRONMENT).exists()


def test_secrets_are_hidden_and_nothing_else() -> None:
    shown = {
        "--config.data.tokenizer=vocab.txt": "--config.data.tokenizer=vocab.txt",
        "--config.schedule.keep=3": "--config.schedule.keep=3",
        "--api_key=abc": "--api_key=***",
        "--my.token=abc": "--my.token=***",
        "--WANDB-PASSWORD=a=b": "--WANDB-PASSWORD=***",
        "--source=https://me:word@host/data": "--source=https://***@host/data",
    }
    assert without_secrets(["train.py", *shown]) == ["train.py", *shown.values()]
    words = ["train.py", "--token", "abc", "--secret", "--workdir", "a", "--key", "b", "c"]
    assert without_secrets(words) == ["train.py", "--token", "***", "--secret", "--workdir", "a", "--key", "***", "c"]
