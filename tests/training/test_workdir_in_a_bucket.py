"""A run's small files in a bucket: whole objects, to which nothing can be added."""

import json
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import fsspec
import pytest
from etils.epath.backend import fsspec_backend
from fsspec.implementations.memory import MemoryFileSystem

from smarttrim_jax.errors import CheckpointError, ConfigError, TrainingError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.training import run_lock
from smarttrim_jax.training.run_lock import RunLock
from smarttrim_jax.training.workdir import Workdir
from smarttrim_jax.training.writers import Writers

RUN = "gs://bucket/runs/one"


class Bucket(MemoryFileSystem):
    """Google's, in memory."""

    protocol = ("gcs", "gs")
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    cachable = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("gs://"))

    def _open(self, path: str, mode: str = "rb", *rest: Any, **more: Any) -> Any:
        assert "a" not in mode, "nothing can be added to an object"
        return super()._open(path, mode, *rest, **more)


@pytest.fixture(autouse=True)
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Bucket]]:
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "gcs", Bucket)
    fsspec_backend._get_filesystem.cache_clear()
    Bucket.store.clear()
    yield Bucket
    fsspec_backend._get_filesystem.cache_clear()


def steps(bucket: type[Bucket]) -> list[int]:
    content = bucket().cat("/bucket/runs/one/metrics.jsonl").decode()
    return [json.loads(line)["step"] for line in content.splitlines()]


def test_metrics_are_whole_at_every_save_and_at_the_end(bucket: type[Bucket]) -> None:
    writer = Writers((), RUN)
    for step in (1, 2):
        writer.write(step, {"loss": 1.0})
    assert not bucket().exists("/bucket/runs/one/metrics.jsonl")  # not an upload for every line
    writer.flush()
    assert steps(bucket) == [1, 2]
    writer.write(3, {"loss": 1.0})
    writer.close()
    assert steps(bucket) == [1, 2, 3]


def test_a_resumed_run_goes_on_from_its_step(bucket: type[Bucket]) -> None:
    for start, last in ((0, 4), (2, 3)):
        writer = Writers((), RUN, start)
        for step in range(start + 1, last + 1):
            writer.write(step, {"loss": 1.0})
        writer.close()
    assert steps(bucket) == [1, 2, 3]


def test_a_configuration_is_found_again(bucket: type[Bucket], experiment: ExperimentConfig) -> None:
    workdir = Workdir(RUN)
    workdir.create()
    with pytest.raises(CheckpointError, match=r"gs://bucket/runs/one' holds no run"):
        workdir.config()
    workdir.claim(experiment)
    assert Workdir(RUN).config() == experiment
    workdir.write_report({"accuracy": 0.5})
    assert json.loads(bucket().cat("/bucket/runs/one/report.json")) == {"accuracy": 0.5}


def test_a_bucket_has_a_lock_too(bucket: type[Bucket], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "_SETTLED_IN_BUCKET_AFTER", 0.01)
    monkeypatch.setattr(run_lock, "_LOOK_EVERY", 0.01)
    lock = "/bucket/runs/one/run.lock"
    with RunLock(RUN) as held:
        with pytest.raises(TrainingError, match=r"'gs://bucket/runs/one' is in use: process"), RunLock(RUN):
            pass
        held.check()
        left = json.loads(bucket().cat(lock))
    assert not bucket().exists(lock)
    # Of a machine that was taken away: it has not been renewed for long.
    bucket().pipe(lock, json.dumps(left | {"host": "gone", "renewed": left["renewed"] - 1000}).encode())
    with RunLock(RUN):
        assert json.loads(bucket().cat(lock))["host"] == left["host"]


def test_what_reaches_buckets_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(ConfigError, match=r"is a bucket; pip install -e '.\[gcs\]'"):
        Workdir(RUN)
