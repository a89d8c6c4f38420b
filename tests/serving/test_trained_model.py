"""What is done with a finished run: predicted, explained, exported, measured."""

import json
import pathlib
import re
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fresh_params import fresh_params
from tiny_run import decisive

from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.data.images import normalize
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.inference import PackedExecutor
from smarttrim_jax.inference.benchmarking import measure_run
from smarttrim_jax.inference.evaluation import PackedEvaluator
from smarttrim_jax.inference.explanation import Explanation, explain
from smarttrim_jax.inference.export import export_run
from smarttrim_jax.inference.predictor import Answer, Failure, Predictor, Question
from smarttrim_jax.reporting.page import build_page
from smarttrim_jax.reporting.picture import draw
from smarttrim_jax.reporting.speed_table import format_speed
from smarttrim_jax.training.evaluation import Evaluator
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.training.run_data import fit_to_data
from smarttrim_jax.training.finished import FinishedRun
from smarttrim_jax.trimming.calibration import SpeedDial


@pytest.fixture(scope="module")
def run(experiment: ExperimentConfig) -> FinishedRun:
    """A run as it is read from its folder, but for the training."""
    dataset = prepare(experiment.data)
    config = fit_to_data(experiment, dataset)
    params = fresh_params(config.model)
    params |= {"trimmers": decisive(params["trimmers"])}
    return FinishedRun(config, params, SpeedDial((-5.0, 0.0), (0.4, 0.6)), dataset)


@pytest.fixture(scope="module")
def predictor(run: FinishedRun) -> Predictor:
    """One for all tests: its programs are compiled once."""
    return Predictor(run)


@pytest.fixture(scope="module")
def evaluators(run: FinishedRun) -> tuple[Evaluator, PackedEvaluator]:
    """Padded and packed."""
    return Evaluator(run), PackedEvaluator(run)


@pytest.fixture(scope="module")
def examples(run: FinishedRun) -> list[Explanation]:
    """Three explained examples."""
    return list(explain(run, "test", limit=3, batch_size=4))


def test_packed_execution_of_a_trained_model_answers_as_the_padded_one(run):
    executor, forward = PackedExecutor(run.model, run.params, run.config.execution), jax.jit(run.model.apply)
    for batch in run.batches("test", batch_size=4):
        inputs = normalize(batch["image"], run.config.pixels), batch["text_ids"], batch["text_mask"]
        padded, packed = forward(run.params, *inputs, trim=run.trim()), executor(*inputs, trim=run.trim())
        np.testing.assert_allclose(packed.logits["vqa"], padded.logits["vqa"], atol=1e-5)
        jax.tree.map(np.testing.assert_array_equal, packed.record, padded.record)


def test_answers_come_in_order_and_do_not_depend_on_the_batch(predictor, experiment):
    image = next(pathlib.Path(experiment.data.source).rglob("*.png"))
    questions = [Question((str(image),), text) for text in ("what shape is it?", "is it red?", "is it blue?")]
    together = list(predictor(questions))
    alone = list(predictor(questions, batch_size=1))
    assert [answer.text for answer in together] == [question.text for question in questions]
    for first, second in zip(together, alone, strict=True):
        assert (first.answer, first.images) == (second.answer, second.images)
        assert first.confidence == pytest.approx(second.confidence, abs=1e-5)
        assert first.macs_saved == pytest.approx(second.macs_saved, abs=1e-6)


@pytest.mark.parametrize(
    ("question", "error"),
    [
        (Question(("nowhere.png",), "is it red?"), "nowhere.png"),
        (Question((), "is it red?"), "0 images"),
        (Question((__file__,), "is it red?"), "cannot read image"),
        (Question(("nowhere.png",), ""), "nowhere.png"),
    ],
)
def test_a_question_that_cannot_be_asked_is_named_and_the_others_are_answered(predictor, experiment, question, error):
    good = Question((str(next(pathlib.Path(experiment.data.source).rglob("*.png"))),), "is it red?")
    first, second, third = predictor([good, question, good])
    assert isinstance(second, Failure)
    assert error in second.error
    assert isinstance(first, Answer)
    assert isinstance(third, Answer)
    assert first.answer == third.answer


def test_explanations_say_what_the_record_says(examples):
    assert [example.index for example in examples] == list(range(3))
    for example in examples:
        assert example.patches.shape == (3, 1, 2, 2)
        assert (np.diff(example.patches.astype(int), axis=0) <= 0).all()
        assert len(example.dropped) == len(example.words)
        assert all(0 < end <= len(example.text_layers) for end in example.dropped)
        assert set(example.heads) == {
            "image 0",
            "image 1",
            "text 0",
            "fusion image 0",
            "fusion image 0 cross",
            "fusion text 0",
            "fusion text 0 cross",
        }


def test_the_page_holds_every_example_and_the_picture_every_layer(examples):
    page = build_page(examples, "three </script> of them")
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    content = json.loads(data.group(1))
    assert content["title"] == "three </script> of them"
    assert len(content["examples"]) == 3
    for record, example in zip(content["examples"], examples, strict=True):
        bits = "".join(f"{int(layer[0], 16):04b}" for layer in record["patches"])
        assert bits == "".join(str(int(bit)) for bit in example.patches.reshape(-1))
    assert draw(examples[0]).width > 3 * 160
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_an_exported_file_needs_only_jax_and_answers_as_the_model_does(run, tmp_path):
    file = tmp_path / "model.jaxexport"
    export_run(run, str(file), batch_size=2, platforms=("cpu",))
    batch = next(iter(run.batches("test", batch_size=2)))
    inputs = {name: batch[name] for name in ("image", "text_ids", "text_mask")}
    np.savez(tmp_path / "inputs.npz", **inputs)
    program = """
import sys, numpy, jax
from jax import export
inputs = numpy.load(sys.argv[2])
call = export.deserialize(bytearray(open(sys.argv[1], "rb").read())).call
output = jax.jit(call)(inputs["image"], inputs["text_ids"], inputs["text_mask"])
assert not any(name.startswith(("flax", "smarttrim")) for name in sys.modules)
numpy.savez(sys.argv[3], **output)
"""
    arguments = [str(file), str(tmp_path / "inputs.npz"), str(tmp_path / "outputs.npz")]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, timeout=120)
    outputs = np.load(tmp_path / "outputs.npz")
    images = normalize(jnp.asarray(inputs["image"]), run.config.pixels)
    forward = jax.jit(run.model.apply)
    expected = forward(run.params, images, inputs["text_ids"], inputs["text_mask"], trim=run.trim())
    np.testing.assert_allclose(outputs["vqa"], expected.logits["vqa"], atol=1e-5)
    full = run.model.macs(expected.record.opened(), trimmed=False)
    np.testing.assert_allclose(outputs["macs_ratio"], run.model.macs(expected.record) / full, rtol=1e-5)


def test_the_benchmark_quotes_every_execution_against_the_faster_reference(run):
    rows = list(measure_run(run, [2], [], repeats=1))
    assert [row["execution"] for row in rows] == ["full", "padded", "packed"]
    baseline = min(row["seconds"] for row in rows[:2])
    for row in rows:
        assert row["speedup"] == pytest.approx(baseline / row["seconds"])
        assert row["realised"] == pytest.approx(row["speedup"] / row["macs_ratio"])
    assert [format_speed(row).split()[0] for row in rows] == ["full", "padded", "packed"]


@pytest.mark.parametrize("trimmed", [False, True])
def test_packed_evaluation_reports_what_padded_evaluation_reports(run, evaluators, trimmed):
    padded, packed = evaluators

    def report(evaluator):
        batches = run.batches("test", limit=9)
        return evaluator.trimmed(batches, run.trim().offset) if trimmed else evaluator.full(batches)

    expected, ours = report(padded), report(packed)
    chex.assert_trees_all_close(ours, expected, rtol=1e-6)
    assert packed.remarks["execution"]["programs"] > 0


def test_a_speed_beyond_the_dial_is_refused(run):
    with pytest.raises(ConfigError, match="beyond this model"):
        run.trim(1e4)
