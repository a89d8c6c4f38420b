"""The metrics file is whole, strict JSON, one line a step; other writers take the same, and end no run."""

import json
import sys
import types

import pytest
from outside import StepList

from smarttrim_jax.errors import ConfigError, TrainingError
from smarttrim_jax.training.writers import Writers, check_writers


def test_lines_are_strict_json_and_there_at_once(tmp_path):
    writer = Writers((), tmp_path / "new")
    writer.write(1, {"loss": 0.5, "ratio": float("nan"), "bound": float("inf")})
    line = (tmp_path / "new" / "metrics.jsonl").read_text()
    assert json.loads(line, parse_constant=pytest.fail) == {
        "step": 1,
        "loss": 0.5,
        "ratio": None,
        "bound": None,
    }
    writer.close()


def test_later_lines_and_a_line_cut_short_are_dropped_on_resume(tmp_path):
    lines = [
        '{"step": 1, "loss": 3.0}',
        '{"step": 2, "loss": 2.0}',
        '{"step": 3, "loss": 1.0}',
        '{"step": 4, "lo',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    writer = Writers((), tmp_path, start_step=2)
    writer.write(3, {"loss": 0.5})
    writer.close()
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == [*lines[:2], '{"step": 3, "loss": 0.5}']


def test_damaged_lines_are_set_aside_and_writing_goes_on(tmp_path):
    good = [b'{"step": 1, "loss": 3.0}', '{"step": 2, "name": "\u2028\u00e9"}'.encode()]
    damaged = [
        b'{"step": "2"}',
        b'{"step": true}',
        b'{"step": 2.5}',
        b'{"step": null}',
        b'{"loss": 1.0}',
        b"[1]",
        b"7",
        b"\0\0\0\0",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"step": 4, "lo',
    ]
    file, beside = tmp_path / "metrics.jsonl", tmp_path / "metrics.jsonl.damaged"
    for start in (2, 3):
        file.write_bytes(b"\n".join([good[0], *damaged[:5], good[1], b"", *damaged[5:]]))
        writer = Writers((), tmp_path, start_step=start)
        writer.write(start + 1, {"loss": 0.5})
        writer.close()
        assert file.read_bytes() == b"\n".join([*good, b'{"step": %d, "loss": 0.5}' % (start + 1), b""])
    assert beside.read_bytes() == b"\n".join([*damaged, *damaged, b""])


def test_tensorboard_events_are_written_when_asked(tmp_path):
    for names in ((), ("jsonl", "tensorboard")):
        writer = Writers(names, tmp_path)
        writer.write(1, {"loss": 0.5})
        writer.close()
        events = [file.read_bytes() for file in tmp_path.glob("events.out.tfevents.*")]
        assert [b"loss" in content for content in events] == [True] * bool(names)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 0.5}\n'


class Service:
    """What stands for the package wandb: a service that keeps the steps of every run by its id."""

    def __init__(self):
        self.runs, self.calls = {}, []

    def init(self, **settings):
        self.calls.append(settings)
        steps = self.runs.setdefault(settings["id"], {})

        def log(values, step):
            assert step not in steps
            steps[step] = values

        return types.SimpleNamespace(
            step=max(steps, default=-1) + 1, log=log, finish=lambda: self.calls.append("end")
        )


def test_wandb_takes_every_step_once_however_often_the_run_is_resumed(tmp_path, monkeypatch):
    service = Service()
    monkeypatch.setitem(sys.modules, "wandb", service)
    (tmp_path / "config.json").write_text('{"seed": 3}')
    check_writers(["wandb"])
    for start, last in ((0, 4), (2, 6)):
        writer = Writers(["wandb"], tmp_path, start)
        for step in range(start + 1, last + 1):
            writer.write(step, {"loss": 1.0 / step})
        writer.close()
        assert service.calls[-1] == "end"
    (steps,) = service.runs.values()
    assert steps == {step: {"loss": 1.0 / step} for step in range(1, 7)}
    settings = service.calls[0]
    assert settings["config"] == {"seed": 3}
    assert (settings["resume"], settings["project"], settings["dir"]) == ("allow", "smarttrim_jax", str(tmp_path))
    Writers(["wandb"], tmp_path, 0).close()  # a run from its first step is another one
    assert len(service.runs) == 2


def test_a_wandb_that_is_not_there_or_does_not_start_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    for opened in (lambda: check_writers(["wandb"]), lambda: Writers(["wandb"], tmp_path)):
        with pytest.raises(ConfigError, match=r"names 'wandb', which cannot be imported .*; pip install wandb, or"):
            opened()
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=lambda: None))
    with pytest.raises(ConfigError, match=r"wandb cannot be started \(TypeError: .*; call `wandb login`"):
        Writers(["wandb"], tmp_path)


def test_a_writer_of_a_users_own_is_opened_at_the_step_of_the_run(tmp_path):
    for start, last in ((0, 4), (2, 3)):
        writer = Writers([f"{StepList.__module__}:StepList"], tmp_path, start)
        for step in range(start + 1, last + 1):
            writer.write(step, {"loss": 1.0})
        writer.flush()
        assert (tmp_path / "steps.txt").read_text().split() == [str(step) for step in range(1, last + 1)]
        writer.close()


class Failing(StepList):
    def write(self, step, values):
        if step == 2:
            raise ConnectionError("no route")
        super().write(step, values)


def test_a_writer_that_fails_takes_no_more_and_the_run_goes_on(tmp_path, caplog):
    writer = Writers([f"{__name__}:Failing", "outside:StepList"], tmp_path)
    for step in (1, 2, 3):
        writer.write(step, {"loss": 1.0})
        writer.flush()
    writer.close()
    assert caplog.messages == [
        f"the writer '{__name__}:Failing' failed and takes no more (ConnectionError: no route)"
    ]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "steps.txt").read_text() == "1 2 3"


def test_writers_that_there_are_not_are_named(tmp_path):
    for name, said in {
        "tensorbord": "there is no writer 'tensorbord'; known are 'jsonl', 'tensorboard', 'wandb'",
        "json.tool:Writer": "is not imported",
        "outside:Agreement": r"writer 'outside:Agreement' cannot be opened \(TypeError",
    }.items():
        with pytest.raises(ConfigError, match=said):
            Writers([name], tmp_path)


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"cannot write metrics to '.*file/run': Not a directory"):
        Writers((), tmp_path / "file" / "run")
