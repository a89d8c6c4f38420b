"""Two files of figures are compared row by row: what moved by more than the noise is said, and nothing else."""

import copy
import json
import pathlib
import random

import pytest
from forked_commands import ROOT, module_of

module = module_of(ROOT / "benchmarks" / "compare.py")
FILES = sorted((ROOT / "benchmarks").glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_is_equal_to_itself_with_its_rows_in_any_order(file: pathlib.Path) -> None:
    content = json.loads(file.read_text())
    listed = list(module.figures(content))
    assert len(dict(listed)) == len(listed), "two rows have one name"
    shuffled = copy.deepcopy(content)
    if not any(" (2)" in name for path, _ in listed for name in path):  # what was measured twice keeps its order
        for part in shuffled.values():
            if isinstance(part, list) and part and isinstance(part[0], dict):
                random.Random(0).shuffle(part)
    assert module.compare(content, shuffled, 0.0, absolute=True) == []


ROWS = {
    "machine": {"cores": 2},
    "results": [
        {"batch_size": size, "execution": "packed", "speedup": 2.0, "seconds": 1.0, "spread": 0.01} for size in (1, 8)
    ],
}


def moved(noise: float = 0.05, absolute: bool = False, **changes: float) -> list[str]:
    after = copy.deepcopy(ROWS)
    after["machine"] = {"cores": 64}
    after["results"][1].update(changes)  # type: ignore[index]
    lines: list[str] = module.compare(ROWS, after, noise, absolute)
    return lines


def test_what_moved_is_named_with_its_row() -> None:
    assert moved(speedup=2.08) == []
    assert moved(speedup=1.8) == ["results, batch_size=8 execution=packed, speedup: 2 -> 1.8 (-10.0%)"]
    assert moved(speedup=1.8, spread=0.2) == []
    assert len(moved(speedup=float("nan"))) == 1
    assert len(moved(speedup=2.08, noise=0.01)) == 1


def test_times_are_compared_where_they_are_asked_for() -> None:
    assert moved(seconds=9.0) == []
    assert len(moved(seconds=9.0, absolute=True)) == 1


def test_rows_that_are_gone_or_new_are_told(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    fewer = {**ROWS, "results": ROWS["results"][:1]}  # type: ignore[index]
    for name, content in (("before", ROWS), ("after", fewer)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    before, after = str(tmp_path / "before.json"), str(tmp_path / "after.json")
    assert module.main([before, after]) == 1
    assert "speedup: 2 is gone" in capsys.readouterr().out
    assert module.main([after, before]) == 1
    assert "speedup: 2 is new" in capsys.readouterr().out
    assert module.main([before, before]) == 0


def test_other_files_are_refused(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.json").write_text("no figures")
    with pytest.raises(SystemExit):
        module.main([str(tmp_path / "text.json"), str(tmp_path / "none.json")])
    assert "is no file of figures" in capsys.readouterr().err
