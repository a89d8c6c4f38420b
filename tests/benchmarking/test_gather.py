"""Files of several commands become one, whose figures are found again under the names that kept files have."""

import json
import pathlib
from typing import Any

import pytest
from forked_commands import ROOT, module_of

from smarttrim_jax.errors import DataError

module = module_of(ROOT / "benchmarks" / "gather.py")
compare = module_of(ROOT / "benchmarks" / "compare.py")


def part(command: str, commit: str = "81799d9", cores: int = 2, **content: Any) -> dict[str, Any]:
    return {"machine": {"cores": cores}, "commit": commit, "command": command, **content}


def report(command: str, full: dict[str, float], **trimmed: float) -> dict[str, Any]:
    """What `smarttrim_jax.evaluate --output` writes, of a model that was trim-tuned for 2x where it is trimmed."""
    told: dict[str, Any] = {"dataset": "easy_vqa", "split": "test", "examples": 9, "primary": "accuracy"}
    told |= {"trained_by": [{"commit": "fe3d1c2", "command": "python -m smarttrim_jax.train"}]}
    told |= {"metrics": {"full": full}, "chance": {"accuracy": 0.25}, "macs": {"full": {"mean": 100.0}}}
    if trimmed:
        told["metrics"]["trimmed"] = trimmed
        told["macs"]["trimmed"] = {"mean": 50.0, "p50": 50.0, "p90": 60.0}
        told |= {"speedup": {"asked": 2.0, "macs": 1.995}, "offset": 0.1, "kept": {"image": {"tokens": [1.0, 0.5]}}}
    return part(command, **told)


def names(content: dict[str, Any]) -> set[tuple[str, ...]]:
    return {path for path, _ in compare.figures(content)}


def kept(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / "benchmarks" / f"{name}.json").read_text())
    return content


def test_machines_commits_and_commands_are_those_of_all_files() -> None:
    two = [({}, part("a", results=[])), ({}, part("b", results=[])), ({}, part("b", results=[]))]
    expected = {"machine": {"cores": 2}, "commit": "81799d9", "commands": ["a", "b"], "results": []}
    assert module.gather("rows", two) == expected
    several = [*two, ({}, part("c", "81799d9 with changes", cores=4, results=[]))]
    told = module.gather("rows", several)
    assert told["machine"] == [{"cores": 2}, {"cores": 4}]
    assert told["commit"] == ["81799d9", "81799d9 with changes"]
    assert names(told) == set()  # where figures come from is no figure
    told = module.gather("dial", [({"run": "trim2"}, report("evaluate", {"accuracy": 0.9}))])
    assert told["commit"] == ["fe3d1c2", "81799d9"]
    assert told["commands"] == ["python -m smarttrim_jax.train", "evaluate"]
    of_one = report("evaluate", {"accuracy": 0.9}) | {"commit": "fe3d1c2"}
    assert module.gather("dial", [({"run": "trim2"}, of_one)])["commit"] == "fe3d1c2"


def test_rows_get_the_labels_of_their_file(tmp_path: pathlib.Path) -> None:
    for name in ("a", "b"):
        row = {"batch_size": 1, "execution": "packed", "speedup": 2.0}
        (tmp_path / f"{name}.json").write_text(json.dumps(part(name, results=[row])))
    files = [str(tmp_path / f"{name}.json") for name in ("a", "b")]
    words = ["pixels=384", "scan=false", files[0], "pixels=224", "model=meter=base", files[1]]
    module.main(["--layout=rows", f"--output={tmp_path / 'c.json'}", *words])
    first, second = json.loads((tmp_path / "c.json").read_text())["results"]
    assert (first["pixels"], first["scan"], "model" in first) == (384, False, False)
    assert (second["pixels"], second["model"]) == (224, "meter=base")


def test_runs_are_found_again_in_kept_files() -> None:
    told = module.gather("dial", [({"run": "trim2"}, report("a", {"accuracy": 0.99}, accuracy=0.98))])
    row = "asked=2 run=trim2"
    same = {("results", row, name) for name in ("macs_speedup", "accuracy_full", "macs_full")}
    assert same <= names(told) & names(kept("easy_vqa"))
    told = module.gather("dial", [({}, report("a", {"accuracy": 0.8}, accuracy=0.8))])
    assert {("results", "asked=2", "macs_speedup"), ("results", "asked=2", "accuracy")} <= names(told)
    kinds = {"accuracy": 0.9, "accuracy (relational)": 0.8}
    told = module.gather("dial", [({"run": "soc3", "seed": 0}, report("a", kinds, **kinds))])
    row = "asked=2 run=soc3 seed=0"
    assert ("results", row, "relational") in names(told) & names(kept("sort_of_clevr"))
    never_trimmed = module.gather("dial", [({"run": "finetune"}, report("a", {"accuracy": 0.99}))])
    assert ("results", "run=finetune", "accuracy_full") in names(never_trimmed) & names(kept("easy_vqa"))


def test_sections_are_those_of_kept_files() -> None:
    told = module.gather("sections", [({"run": "vqa"}, report("a", {"accuracy": 0.96}, accuracy=0.95))])
    of_it = {path for path in names(kept("blip_tiny")) if path[0] == "vqa" and path[1] != "kept"}
    assert of_it == {path for path in names(told) if path[1] != "kept"}


def test_steps_are_the_rows_of_kept_files() -> None:
    program = {"seconds": 9.0, "peak_bytes": 8, "collectives": []}
    step = {"batch_size": 256, "parameters": 1, "state_bytes": 2, "model_flops": 3.0, "program": program}
    slice_ = {"topology": "v5e:4x4", "devices": 16, "step": step, "bytes_sent": 4, "efficiency": 0.9}
    told = module.gather("steps", [({"config": "meter/nlvr2:trim"}, part("a", **slice_))])
    row = "batch_size=256 config=meter/nlvr2:trim"
    of_it = {path for path in names(kept("official_steps")) if row in path} - {("results", row, "accumulate")}
    taken_out = {("results", row, name) for name in ("bytes_sent", "efficiency")}  # until they are measured anew
    assert of_it == {path for path in names(told) if row in path} - taken_out
    (whole,) = module.gather("slices", [({"model": "meter_base"}, part("a", **slice_))])["results"]
    assert whole == {"model": "meter_base", **slice_}


def test_files_of_another_kind_are_refused_in_one_sentence(tmp_path: pathlib.Path) -> None:
    for layout in module.LAYOUTS:
        with pytest.raises(DataError, match=f"--layout={layout} is not for these files: KeyError 'm?"):
            module.gather(layout, [({}, {"commit": "a"})])
    with pytest.raises(DataError, match=r"nowhere\.json' is missing; measure it again"):
        module.main(["--layout=rows", f"--output={tmp_path / 'c.json'}", str(tmp_path / "nowhere.json")])
    with pytest.raises(SystemExit):
        module.main(["--layout=rows", f"--output={tmp_path / 'c.json'}", "model=a"])
