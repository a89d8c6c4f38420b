"""Whatever fails or takes too long, the report is whole and says what is missing."""

import json
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import pytest

from smarttrim_jax.benchmarking.accelerator.report import SECTIONS, Report
from smarttrim_jax.benchmarking.accelerator.stages import RESERVE, Compiled, Study, run_stages
from smarttrim_jax.errors import DataError


class FakeStudy(Study):
    """Parts by name, and a row for each that is ready."""

    def __init__(self, name: str, **parts: Callable[[], Any]):
        self.name, self._parts = name, parts

    def parts(self) -> Mapping[str, Callable[[], Callable[[], Any]]]:
        return {name: lambda call=call: call for name, call in self._parts.items()}

    def rows(self, ready: Mapping[str, Compiled]) -> Iterator[tuple[str, dict[str, Any]]]:
        for name in ready:
            yield "rows", {"part": name}


def fine() -> Any:
    return jnp.ones(())


def broken() -> Any:
    raise RuntimeError("out of memory\nwith details")


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "figures.json"


def begin(path: pathlib.Path) -> Report:
    return Report(str(path), {"commit": "abc"}, lambda section, row: None)


def test_what_fails_is_left_out_and_the_rest_measured(path: pathlib.Path) -> None:
    class Unready(FakeStudy):
        def parts(self) -> Any:
            raise ValueError("no trimmers")

    stages = [[FakeStudy("first", good=fine, bad=broken), Unready("second")], [FakeStudy("third", good=fine)]]
    assert run_stages(stages, begin(path), time.monotonic() + RESERVE + 60)
    report = json.loads(path.read_text())
    assert report["commit"] == "abc"
    assert {*SECTIONS, "seconds"} <= set(report)
    assert report["rows"] == [{"part": "good"}, {"part": "good"}]
    assert report["left_out"] == [
        {"what": "second", "why": "ValueError: no trimmers"},
        {"what": "first: bad", "why": "RuntimeError: out of memory"},
    ]


def test_nothing_is_begun_without_time(path: pathlib.Path) -> None:
    stages = [[FakeStudy("first", good=broken)], [FakeStudy("second", good=broken)]]
    run_stages(stages, begin(path), time.monotonic() + RESERVE - 1)
    report = json.loads(path.read_text())
    assert report["rows"] == []
    assert [row["what"] for row in report["left_out"]] == ["first", "second"]


def test_an_endless_compilation_costs_only_itself_and_what_follows(path: pathlib.Path) -> None:
    never = threading.Event()
    stages = [[FakeStudy("first", endless=never.wait, good=fine)], [FakeStudy("second", good=fine)]]
    assert not run_stages(stages, begin(path), time.monotonic() + RESERVE + 0.5)
    never.set()
    report = json.loads(path.read_text())
    assert report["rows"] == [{"part": "good", "beside_compilation": True}]
    assert [row["what"] for row in report["left_out"]] == ["first: endless", "second"]


def test_a_report_that_cannot_be_written_is_one_sentence(tmp_path: pathlib.Path) -> None:
    with pytest.raises(DataError, match="choose another --output"):
        begin(tmp_path / "nowhere" / "figures.json")


def test_a_value_that_is_no_json_costs_only_its_row(path: pathlib.Path) -> None:
    report = begin(path)
    with pytest.raises(ValueError, match="JSON"):
        report.add("rows", {"seconds": float("nan")})
    report.add("rows", {"seconds": 1.0})
    assert json.loads(path.read_text())["rows"] == [{"seconds": 1.0}]
