"""The metrics file is whole, strict JSON, one line a step."""

import json

import pytest

from smarttrim_jax.errors import TrainingError
from smarttrim_jax.training.metric_writer import MetricWriter


def test_lines_are_strict_json_and_there_at_once(tmp_path):
    writer = MetricWriter(tmp_path / "new")
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
    writer = MetricWriter(tmp_path, start_step=2)
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
        writer = MetricWriter(tmp_path, start_step=start)
        writer.write(start + 1, {"loss": 0.5})
        writer.close()
        assert file.read_bytes() == b"\n".join([*good, b'{"step": %d, "loss": 0.5}' % (start + 1), b""])
    assert beside.read_bytes() == b"\n".join([*damaged, *damaged, b""])


def test_tensorboard_events_are_written_when_asked(tmp_path):
    writer = MetricWriter(tmp_path, tensorboard=True)
    writer.write(1, {"loss": 0.5})
    writer.close()
    assert b"loss" in next(tmp_path.glob("events.out.tfevents.*")).read_bytes()


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"cannot write metrics to '.*file/run': Not a directory"):
        MetricWriter(tmp_path / "file" / "run")
